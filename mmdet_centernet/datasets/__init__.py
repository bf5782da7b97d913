"""Data sets and their transforms: annotation file to dict, in original pixels."""
from .coco import CocoDataset
from .coco_pose import CocoPoseDataset
from .kitti import KittiMono3DDataset
from .skeleton import parse_skeleton
from .transforms import (
    CenterAffine,
    CenterAffine3D,
    CenterPad,
    CenterResize,
    ColorJitterPCA,
    LoadBoxes3D,
    LoadImage,
    LoadKeypoints,
    PackMono3DInputs,
    PackPoseInputs,
)
from .voc import VOCDataset
from .zip_backend import ZipBackend

__all__ = [
    'CenterAffine', 'CenterAffine3D', 'CenterPad', 'CenterResize', 'CocoDataset',
    'CocoPoseDataset', 'ColorJitterPCA', 'KittiMono3DDataset', 'LoadBoxes3D', 'LoadImage',
    'LoadKeypoints', 'PackMono3DInputs', 'PackPoseInputs', 'VOCDataset', 'ZipBackend',
    'parse_skeleton'
]
