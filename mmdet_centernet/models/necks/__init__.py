"""Necks: backbone features to one map of stride 4."""
from .ct_resnet_neck import CTResNetNeck
from .dla_up import DLAUp

__all__ = ['CTResNetNeck', 'DLAUp']
