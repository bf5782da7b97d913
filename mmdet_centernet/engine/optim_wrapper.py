"""Mixed precision on the CPU."""
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper

from mmdet_centernet.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Compute the losses in bfloat16 where PyTorch deems it safe.

    MMEngine's ``AmpOptimWrapper`` insists on a GPU because it scales the loss for float16;
    bfloat16 has float32's range and needs no scaling.
    """

    @contextmanager
    def optim_context(self, model):
        """The context in which the losses are computed."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
