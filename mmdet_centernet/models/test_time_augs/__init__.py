"""Models that see an image several times and merge what they found."""
from .centernet_tta import CenterNetTTAModel

__all__ = ['CenterNetTTAModel']
