"""Layers that backbones and necks share."""
from .dcn import DCNv2

__all__ = ['DCNv2']
