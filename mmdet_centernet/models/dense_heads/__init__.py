"""Heads: branches over the features, their losses and their predictions."""
from .base_center_head import BaseCenterHead
from .centernet_head import CenterNetHead

__all__ = ['BaseCenterHead', 'CenterNetHead']
