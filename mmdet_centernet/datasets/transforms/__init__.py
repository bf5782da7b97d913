"""Transforms of an image and all its annotations together, with one homography."""
from mmdet_centernet.datasets.transforms.affine import CenterAffine, CenterPad, CenterResize
from mmdet_centernet.datasets.transforms.color import ColorJitterPCA
from mmdet_centernet.datasets.transforms.keypoints import LoadKeypoints, PackPoseInputs
from mmdet_centernet.datasets.transforms.loading import LoadImage
from mmdet_centernet.datasets.transforms.mono3d import (
    CenterAffine3D,
    LoadBoxes3D,
    PackMono3DInputs,
)

__all__ = [
    'CenterAffine', 'CenterAffine3D', 'CenterPad', 'CenterResize', 'ColorJitterPCA',
    'LoadBoxes3D', 'LoadImage', 'LoadKeypoints', 'PackMono3DInputs', 'PackPoseInputs'
]
