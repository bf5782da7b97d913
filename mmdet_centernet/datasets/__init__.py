"""Data sets and their transforms: annotation file to dict, in original pixels."""
from .coco import CocoDataset
from .transforms import CenterAffine, CenterPad, CenterResize, ColorJitterPCA, LoadImage
from .voc import VOCDataset

__all__ = [
    'CenterAffine', 'CenterPad', 'CenterResize', 'CocoDataset', 'ColorJitterPCA', 'LoadImage',
    'VOCDataset'
]
