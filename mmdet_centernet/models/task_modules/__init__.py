"""Coders: objects to training targets and network outputs to objects, in one place."""
from .box_coder import BoxTargets, CenterNetBoxCoder
from .mono3d_coder import CenterNetMono3DCoder, Mono3DTargets
from .pose_coder import CenterNetPoseCoder, PoseTargets

__all__ = [
    'BoxTargets', 'CenterNetBoxCoder', 'CenterNetMono3DCoder', 'CenterNetPoseCoder',
    'Mono3DTargets', 'PoseTargets',
]
