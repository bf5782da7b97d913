"""Data sets and their transforms: annotation file to dict, in original pixels."""
from .transforms import CenterAffine, CenterPad, CenterResize, ColorJitterPCA, LoadImage

__all__ = ['CenterAffine', 'CenterPad', 'CenterResize', 'ColorJitterPCA', 'LoadImage']
