"""Detectors, made of a backbone, a neck and a head."""
from mmdet_centernet.models.detectors.centernet import CenterNet
from mmdet_centernet.models.detectors.distilled_centernet import DistilledCenterNet

__all__ = ['CenterNet', 'DistilledCenterNet']
