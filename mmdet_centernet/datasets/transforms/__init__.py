"""Transforms of an image and all its annotations together, with one homography."""
from .affine import CenterAffine, CenterPad, CenterResize
from .color import ColorJitterPCA
from .keypoints import LoadKeypoints, PackPoseInputs
from .loading import LoadImage
from .mono3d import CenterAffine3D, LoadBoxes3D, PackMono3DInputs

__all__ = [
    'CenterAffine', 'CenterAffine3D', 'CenterPad', 'CenterResize', 'ColorJitterPCA',
    'LoadBoxes3D', 'LoadImage', 'LoadKeypoints', 'PackMono3DInputs', 'PackPoseInputs'
]
