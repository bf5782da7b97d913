"""CenterNet, "Objects as Points" (arXiv:1904.07850), as an MMDetection 3.x plugin.

Importing the package makes mmdet importable without a compiled mmcv (so import it before
mmdet), lets torch read mmengine's checkpoints, and registers the types that configs name. It
builds nothing and imports no model.

Without torch or mmengine it does none of this: exported models still run
(:class:`mmdet_centernet.apis.ExportedDetector`), and every other name in
:mod:`mmdet_centernet.apis` raises an error that names the missing package.
"""
from importlib.util import find_spec

from mmdet_centernet.compat.versions import check_runtime_versions, check_versions
from mmdet_centernet.version import __version__

__all__ = ['__version__']

if find_spec('torch') is None or find_spec('mmengine') is None:
    check_runtime_versions()
else:
    check_versions()  # before anything that a wrong version could break

    from mmdet_centernet.compat.mmcv_ext import ensure_mmcv_ext
    from mmdet_centernet.compat.safe_load import allow_training_checkpoints
    from mmdet_centernet.ops.mmcv_ops import OPERATIONS

    ensure_mmcv_ext(OPERATIONS)
    allow_training_checkpoints()

    from mmdet_centernet import registry
    from mmdet_centernet.checkpoints import pretrained

    __all__ += ['pretrained', 'registry']
