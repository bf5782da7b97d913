"""Losses on tensors; they know no ground-truth format."""
from .gaussian_focal_loss import GaussianFocalLoss, gaussian_focal_loss

__all__ = ['GaussianFocalLoss', 'gaussian_focal_loss']
