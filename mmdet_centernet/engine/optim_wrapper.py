"""Mixed precision on the CPU."""
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmdet_centernet.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Optimizer wrapper that computes the losses in bfloat16 where PyTorch deems it safe.

    MMEngine's ``AmpOptimWrapper`` insists on a GPU because it scales the loss for float16;
    bfloat16 has float32's range and needs no scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute the losses in this context."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
