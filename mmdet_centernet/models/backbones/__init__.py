"""Backbones that MMDetection does not provide."""
from mmdet_centernet.models.backbones.caffe_resnet import CaffeResNet
from mmdet_centernet.models.backbones.dla import DLA
from mmdet_centernet.models.backbones.efficientnet_lite import EfficientNetLite
from mmdet_centernet.models.backbones.timm_backbone import TIMMBackbone

__all__ = ['CaffeResNet', 'DLA', 'EfficientNetLite', 'TIMMBackbone']
