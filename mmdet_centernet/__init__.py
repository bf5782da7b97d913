"""CenterNet, "Objects as Points" (arXiv:1904.07850), as an MMDetection 3.x plugin.

Importing it makes mmdet importable without a compiled mmcv (so import it before mmdet),
lets torch read mmengine's checkpoints, and registers what configs can name. It builds
nothing and imports no model.
"""
from ._versions import check_versions

check_versions()  # before anything that a wrong version could break

from ._checkpoint import allow_training_checkpoints  # noqa: E402
from ._mmcv_ext import ensure_mmcv_ext  # noqa: E402

ensure_mmcv_ext()
allow_training_checkpoints()

from . import pretrained, registry  # noqa: E402
from .version import __version__  # noqa: E402

__all__ = ['__version__', 'pretrained', 'registry']
