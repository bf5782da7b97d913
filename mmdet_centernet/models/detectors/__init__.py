"""Detectors: backbone, neck and head together."""
from .centernet import CenterNet

__all__ = ['CenterNet']
