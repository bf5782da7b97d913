"""Data sets and their transforms: annotation file to dict, in original pixels."""
from .coco import CocoDataset
from .coco_pose import CocoPoseDataset
from .skeleton import parse_skeleton
from .transforms import (
    CenterAffine,
    CenterPad,
    CenterResize,
    ColorJitterPCA,
    LoadImage,
    LoadKeypoints,
    PackPoseInputs,
)
from .voc import VOCDataset

__all__ = [
    'CenterAffine', 'CenterPad', 'CenterResize', 'CocoDataset', 'CocoPoseDataset',
    'ColorJitterPCA', 'LoadImage', 'LoadKeypoints', 'PackPoseInputs', 'VOCDataset',
    'parse_skeleton'
]
