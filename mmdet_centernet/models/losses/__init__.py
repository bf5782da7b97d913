"""Losses on tensors; they know no ground-truth format."""
from .gaussian_focal_loss import GaussianFocalLoss, gaussian_focal_loss
from .normalized_l1_loss import NormalizedL1Loss

__all__ = ['GaussianFocalLoss', 'NormalizedL1Loss', 'gaussian_focal_loss']
