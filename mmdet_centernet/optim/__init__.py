"""Optimizer wrappers."""
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import Registry

from mmdet_centernet.registry import SCOPE

OPTIM_WRAPPERS = Registry('optim wrapper', parent=ROOT_OPTIM_WRAPPERS, scope=SCOPE)

from .cpu_amp_optim_wrapper import CPUAmpOptimWrapper  # noqa: E402

__all__ = ['OPTIM_WRAPPERS', 'CPUAmpOptimWrapper']
