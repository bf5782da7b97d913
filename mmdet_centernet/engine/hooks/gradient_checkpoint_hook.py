"""Gradient checkpointing, which trades time for memory."""
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class GradientCheckpointHook(Hook):
    """Hook that keeps only the inputs of modules for the backward pass.

    What lies between is computed a second time when its gradient is needed, so that a step takes
    less memory and more time (arXiv:1604.06174). Losses, gradients and the statistics of batch
    norms are those of training without it. (MMEngine's ``activation_checkpointing`` gives no
    gradients to a module whose inputs need none, such as the backbone's first, and updates the
    statistics twice.)

    Args:
        modules (str | Sequence[str]): names of modules as in ``model.named_modules()``. Of a
            ``ModuleList`` or ``Sequential``, each element is a module of its own. Many small
            modules save more than a large one, all of which is kept while its own gradients are
            computed.

    Raises:
        UserError: before training, if the model has no such module.
    """

    def __init__(self, modules: str | Sequence[str]) -> None:
        self.modules = (modules, ) if isinstance(modules, str) else tuple(modules)

    def before_train(self, runner: Runner) -> None:
        """Wrap the modules.

        Raises:
            UserError: If a module does not exist.
        """
        model = unwrap(runner.model)
        for name in self.modules:
            try:
                module = model.get_submodule(name)
            except AttributeError:
                children = ', '.join(dict(model.named_children()))
                raise UserError(f"GradientCheckpointHook.modules names '{name}', which the model "
                                f'does not have: its modules are {children}') from None
            is_container = isinstance(module, (nn.ModuleList, nn.Sequential))
            for each in module.children() if is_container else (module, ):
                # The instance's attribute precedes the class's method.
                each.forward = _checkpointed(each)


def _checkpointed(module: nn.Module) -> Callable[..., Any]:
    """Return the forward function of a module with checkpointing."""
    forward = module.forward

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _frozen_statistics(module)

    @functools.wraps(forward)
    def compute(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return compute


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norms as the first computation made them."""
    before = {each: (each.momentum, each.num_batches_tracked) for each in module.modules()
              if isinstance(each, _BatchNorm)}
    for norm in before:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in before.items():
            norm.momentum, norm.num_batches_tracked = momentum, count
