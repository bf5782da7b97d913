"""From the images of a batch to the network's input, on the device."""
from .centernet_data_preprocessor import CenterNetDataPreprocessor

__all__ = ['CenterNetDataPreprocessor']
