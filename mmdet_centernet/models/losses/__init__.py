"""Losses on tensors, independent of any ground-truth format."""
from mmdet_centernet.models.losses.angle_bin_loss import AngleBinLoss
from mmdet_centernet.models.losses.box_quality_loss import BoxQualityLoss
from mmdet_centernet.models.losses.dimension_aware_l1_loss import DimensionAwareL1Loss
from mmdet_centernet.models.losses.gaussian_focal_loss import (
    GaussianFocalLoss,
    gaussian_focal_loss,
)
from mmdet_centernet.models.losses.laplace_loss import LaplaceLoss
from mmdet_centernet.models.losses.multi_bin_loss import MultiBinLoss
from mmdet_centernet.models.losses.normalized_l1_loss import NormalizedL1Loss

__all__ = [
    'AngleBinLoss', 'BoxQualityLoss', 'DimensionAwareL1Loss', 'GaussianFocalLoss', 'LaplaceLoss',
    'MultiBinLoss', 'NormalizedL1Loss', 'gaussian_focal_loss',
]
