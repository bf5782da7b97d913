"""Coders: objects to training targets and network outputs to objects, in one place."""
from .box_coder import BoxTargets, CenterNetBoxCoder

__all__ = ['BoxTargets', 'CenterNetBoxCoder']
