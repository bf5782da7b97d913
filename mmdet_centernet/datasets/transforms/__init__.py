"""Transforms of an image and all its annotations together, with one homography."""
from .affine import CenterAffine, CenterPad, CenterResize
from .color import ColorJitterPCA
from .keypoints import LoadKeypoints, PackPoseInputs
from .loading import LoadImage

__all__ = [
    'CenterAffine', 'CenterPad', 'CenterResize', 'ColorJitterPCA', 'LoadImage', 'LoadKeypoints',
    'PackPoseInputs'
]
