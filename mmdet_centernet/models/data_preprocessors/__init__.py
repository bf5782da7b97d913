"""Data preprocessors, which turn a batch of images into the network's input."""
from mmdet_centernet.models.data_preprocessors.centernet_data_preprocessor import (
    CenterNetDataPreprocessor,
)

__all__ = ['CenterNetDataPreprocessor']
