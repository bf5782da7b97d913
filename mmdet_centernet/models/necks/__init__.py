"""Necks, which turn backbone features into one map of stride 4."""
from mmdet_centernet.models.necks.ct_resnet_neck import CTResNetNeck
from mmdet_centernet.models.necks.dla_up import DLAUp

__all__ = ['CTResNetNeck', 'DLAUp']
