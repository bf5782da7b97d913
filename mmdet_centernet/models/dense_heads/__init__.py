"""Heads: branches over the features, their losses and their predictions."""
from mmdet_centernet.models.dense_heads.center_coder import CenterCoder
from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.dense_heads.centernet_head import CenterNetHead
from mmdet_centernet.models.dense_heads.centernet_mono3d_head import CenterNetMono3DHead
from mmdet_centernet.models.dense_heads.centernet_pose_head import CenterNetPoseHead

__all__ = [
    'CenterCoder', 'CenterHead', 'CenterNetHead', 'CenterNetMono3DHead', 'CenterNetPoseHead',
]
