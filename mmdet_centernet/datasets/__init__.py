"""Data sets and their transforms: annotation file to dict, in original pixels."""
from mmdet_centernet.datasets.coco import CocoDataset
from mmdet_centernet.datasets.coco_pose import CocoPoseDataset
from mmdet_centernet.datasets.kitti import KittiMono3DDataset
from mmdet_centernet.datasets.skeleton import parse_skeleton
from mmdet_centernet.datasets.transforms import (
    CenterAffine,
    CenterAffine3D,
    CenterPad,
    CenterResize,
    ColorJitterPCA,
    LoadAttributes,
    LoadBoxes3D,
    LoadImage,
    LoadKeypoints,
    PackInputs,
    PackMono3DInputs,
)
from mmdet_centernet.datasets.voc import VOCDataset
from mmdet_centernet.io.zip_backend import ZipBackend

__all__ = [
    'CenterAffine', 'CenterAffine3D', 'CenterPad', 'CenterResize', 'CocoDataset',
    'CocoPoseDataset', 'ColorJitterPCA', 'KittiMono3DDataset', 'LoadAttributes', 'LoadBoxes3D',
    'LoadImage', 'LoadKeypoints', 'PackInputs', 'PackMono3DInputs', 'VOCDataset', 'ZipBackend',
    'parse_skeleton'
]
