"""Transforms of an image and all its annotations together, with one homography."""
from mmdet_centernet.datasets.transforms.affine import CenterAffine, CenterPad, CenterResize
from mmdet_centernet.datasets.transforms.attributes import LoadAttributes
from mmdet_centernet.datasets.transforms.color import ColorJitterPCA
from mmdet_centernet.datasets.transforms.keypoints import LoadKeypoints
from mmdet_centernet.datasets.transforms.loading import LoadImage
from mmdet_centernet.datasets.transforms.mono3d import (
    CenterAffine3D,
    FilterBoxes3D,
    LoadBoxes3D,
    PackMono3DInputs,
)
from mmdet_centernet.datasets.transforms.packing import PackInputs

__all__ = [
    'CenterAffine', 'CenterAffine3D', 'CenterPad', 'CenterResize', 'ColorJitterPCA',
    'FilterBoxes3D', 'LoadAttributes', 'LoadBoxes3D', 'LoadImage', 'LoadKeypoints', 'PackInputs',
    'PackMono3DInputs'
]
