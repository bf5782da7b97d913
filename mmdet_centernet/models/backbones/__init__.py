"""Backbones that MMDetection does not have."""
from .caffe_resnet import CaffeResNet
from .dla import DLA
from .efficientnet_lite import EfficientNetLite

__all__ = ['CaffeResNet', 'DLA', 'EfficientNetLite']
