"""Frozen parts of a backbone."""
from collections.abc import Iterable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze(modules: Iterable[nn.Module]) -> None:
    """Stop the gradients of the parameters of modules and of their children."""
    for module in modules:
        module.requires_grad_(False)


def keep_in_eval_mode(
    model: nn.Module, frozen: Iterable[nn.Module], norm_eval: bool
) -> None:
    """Put frozen modules, and all batch norms if ``norm_eval``, back into evaluation mode.

    ``train()`` of a backbone calls this after it has put everything into training mode.
    """
    for module in frozen:
        module.eval()
    if norm_eval:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
