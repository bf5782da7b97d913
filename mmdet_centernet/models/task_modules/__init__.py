"""Coders: objects to training targets and network outputs to objects, in one place."""
from .box_coder import BoxTargets, CenterNetBoxCoder
from .pose_coder import CenterNetPoseCoder, PoseTargets

__all__ = ['BoxTargets', 'CenterNetBoxCoder', 'CenterNetPoseCoder', 'PoseTargets']
