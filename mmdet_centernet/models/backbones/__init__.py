"""Backbones that MMDetection does not have."""
from .efficientnet_lite import EfficientNetLite

__all__ = ['EfficientNetLite']
