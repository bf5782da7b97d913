"""Layers shared by backbones, necks and heads."""
from mmdet_centernet.models.layers.dcn import DCNv2

__all__ = ['DCNv2']
