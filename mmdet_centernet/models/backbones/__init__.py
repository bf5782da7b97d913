"""Backbones that MMDetection does not have."""
from .dla import DLA
from .efficientnet_lite import EfficientNetLite

__all__ = ['DLA', 'EfficientNetLite']
