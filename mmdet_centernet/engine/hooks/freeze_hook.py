"""Freezing of modules for the first epochs."""
import gc
from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Hook that freezes modules for the first epochs and unfreezes them afterwards.

    It is meant for a backbone with ImageNet weights and a new head: gradients of the first,
    random predictions do not disturb the backbone, and a step takes less time and memory.
    Frozen parameters get no gradient, so that optimizers leave them alone, including weight
    decay and momentum; all of them may be in the optimizer from the start. Frozen modules are
    in evaluation mode: batch norm uses its initial statistics and does not change them.
    (bubbliiiing's CenterNet, from which this recipe of 50 + 50 epochs comes, freezes the
    parameters but lets the statistics drift.) Parameters that the model itself has frozen,
    as ``frozen_stages`` of a backbone does, stay frozen.

    The phase follows from the epoch alone, so that training can be resumed at any epoch.
    DistributedDataParallel decides which gradients it waits for when it wraps a model; the
    hook therefore wraps the model again when the phase changes.

    Args:
        modules (str | Sequence[str]): names of modules as in ``model.named_modules()``.
        epochs (int): number of epochs for which they are frozen; if training has no more
            epochs, they are never trained.
    """

    def __init__(self, modules: str | Sequence[str] = ('backbone', ), epochs: int = 50) -> None:
        if epochs < 1:
            raise UserError(f'FreezeHook.epochs = {epochs} must be at least 1: change it, or '
                            'remove the hook from custom_hooks')
        self.modules = (modules, ) if isinstance(modules, str) else tuple(modules)
        self.epochs = epochs
        # The parameters that the hook froze; None while nothing is frozen.
        self._frozen: list[nn.Parameter] | None = None

    def before_train(self, runner: Runner) -> None:
        """Check that the modules exist, also if training resumes after the frozen epochs.

        Raises:
            UserError: If a module does not exist or the training loop has no epochs.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise UserError('FreezeHook counts epochs, but train_cfg is a '
                            f'{type(runner.train_loop).__name__}, which has none: use '
                            'EpochBasedTrainLoop or remove the hook from custom_hooks')
        if is_model_wrapper(runner.model) and not isinstance(
                runner.model, MMDistributedDataParallel):
            raise UserError('FreezeHook works with MMDistributedDataParallel, but the model is '
                            f'wrapped in {type(runner.model).__name__}: change '
                            'model_wrapper_cfg or remove the hook from custom_hooks')
        self._find(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Freeze or unfreeze the modules when a phase begins."""
        freeze = runner.epoch < self.epochs
        if freeze == (self._frozen is not None):
            return
        if freeze:
            self._frozen = self._freeze(runner)
            text = f'frozen until the end of epoch {self.epochs}'
        else:
            for parameter in self._frozen or ():
                parameter.requires_grad = True
            self._frozen = None
            text = 'trained from now on'
        self._wrap_again(runner)
        runner.logger.info(f'{", ".join(self.modules)}: {text}')

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Put frozen modules into evaluation mode, which every epoch ends."""
        if self._frozen is not None:
            for module in self._find(runner):
                if module.training:
                    module.eval()

    def _find(self, runner: Runner) -> list[nn.Module]:
        """Find the modules, at each call again because wrapping a model may replace layers.

        Raises:
            UserError: If a module does not exist.
        """
        model = unwrap(runner.model)
        found = []
        for name in self.modules:
            try:
                found.append(model.get_submodule(name))
            except AttributeError:
                children = ', '.join(dict(model.named_children()))
                raise UserError(f"FreezeHook.modules names '{name}', which the model does not "
                                f'have: its modules are {children}') from None
        return found

    def _freeze(self, runner: Runner) -> list[nn.Parameter]:
        """Freeze the trainable parameters of the modules and return them.

        Raises:
            UserError: If no trainable parameter is left.
        """
        trainable = dict.fromkeys(
            parameter for module in self._find(runner) for parameter in module.parameters()
            if parameter.requires_grad)
        for parameter in trainable:
            parameter.requires_grad = False
        if not any(parameter.requires_grad for parameter in runner.model.parameters()):
            raise UserError(f'FreezeHook.modules = {self.modules} leaves nothing to train: '
                            'name fewer modules')
        return list(trainable)

    @staticmethod
    def _wrap_again(runner: Runner) -> None:
        """Let DistributedDataParallel look again for parameters to train."""
        if not is_model_wrapper(runner.model):
            return
        runner.model = unwrap(runner.model)
        # Its reducer holds a copy of every gradient and is freed with the last reference cycle.
        gc.collect()
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), runner.model)
        # torch.compile, if the config asks for it, is applied to the wrapper's method.
        runner._maybe_compile('train_step')
