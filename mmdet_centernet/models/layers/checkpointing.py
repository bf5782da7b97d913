"""Gradient checkpointing (arXiv:1604.06174) that updates batch norm statistics once."""
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


@contextmanager
def fixed_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of all batch norms of a module.

    Batch norms in training mode still normalize by the statistics of the batch, so that
    outputs and gradients do not change.
    """
    norms = [layer for layer in module.modules()
             if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in norms]
    for layer in norms:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count


def checkpointed(module: nn.Module, x: Tensor) -> Any:
    """Compute ``module(x)`` without keeping its intermediate results for the backward pass.

    The backward pass computes them again. Gradients are those of the plain computation; batch
    norm statistics are updated by the first computation only. Without gradients, the module is
    called as usual.
    """
    if not (module.training and torch.is_grad_enabled()):
        return module(x)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), fixed_statistics(module)

    return checkpoint(module, x, use_reentrant=False, context_fn=contexts)
