"""Detectors, made of a backbone, a neck and a head."""
from mmdet_centernet.models.detectors.centernet import CenterNet

__all__ = ['CenterNet']
