"""Heads: branches over the features, their losses and their predictions."""
from .base_center_head import BaseCenterHead
from .centernet_head import CenterNetHead
from .centernet_mono3d_head import CenterNetMono3DHead
from .centernet_pose_head import CenterNetPoseHead

__all__ = ['BaseCenterHead', 'CenterNetHead', 'CenterNetMono3DHead', 'CenterNetPoseHead']
