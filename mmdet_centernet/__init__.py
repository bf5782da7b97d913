"""CenterNet, "Objects as Points" (arXiv:1904.07850), as an MMDetection 3.x plugin."""
from . import registry
from .version import __version__

__all__ = ['__version__', 'registry']
