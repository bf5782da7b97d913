"""Keep parts of a model as they are for the first epochs."""
import gc

from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class FreezeHook(Hook):
    """Nothing in the named modules learns for the first epochs; then all of it does.

    For a backbone from ImageNet before a new head: gradients of the first, random
    predictions do not disturb it, and a step takes less time and memory. Frozen parameters
    get no gradient, so that optimizers leave them alone, weight decay and momentum
    included; they may all be in the optimizer from the start. Frozen modules are in
    evaluation mode: batch norm uses the statistics that it came with and does not change
    them. (bubbliiiing's CenterNet, whose recipe of 50 + 50 epochs this is, freezes the
    parameters but lets the statistics drift.) Parameters that the model itself has frozen,
    as ``frozen_stages`` of a backbone does, stay so.

    Which of both it is follows from the epoch alone, so that a training may be resumed
    anywhere. DistributedDataParallel decides when it wraps a model which gradients it waits
    for; the hook has it wrap the model anew when the phase changes.

    Args:
        modules (str | tuple[str, ...]): names of modules as in ``model.named_modules()``.
        epochs (int): how many epochs they are frozen; from all of the training's on, they
            never learn.
    """

    def __init__(self, modules=('backbone', ), epochs=50):
        if epochs < 1:
            raise UserError(f'FreezeHook.epochs = {epochs}: give at least 1, or take the hook '
                            'out of custom_hooks')
        self.modules = (modules, ) if isinstance(modules, str) else tuple(modules)
        self.epochs = epochs
        # What learnt before the hook froze it; None while nothing is frozen.
        self._frozen = None

    def before_train(self, runner):
        """Look whether the modules are there, also where a training goes on after them.

        Raises:
            UserError: If a module does not exist or the training counts no epochs.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise UserError('FreezeHook counts epochs, but train_cfg is a '
                            f'{type(runner.train_loop).__name__}, which has none: use '
                            'EpochBasedTrainLoop or take the hook out of custom_hooks')
        if is_model_wrapper(runner.model) and not isinstance(
                runner.model, MMDistributedDataParallel):
            raise UserError('FreezeHook works with MMDistributedDataParallel, but the model is '
                            f'wrapped in {type(runner.model).__name__}: change '
                            'model_wrapper_cfg or take the hook out of custom_hooks')
        self._find(runner)

    def before_train_epoch(self, runner):
        """Freeze or thaw where a phase begins."""
        freeze = runner.epoch < self.epochs
        if freeze == (self._frozen is not None):
            return
        if freeze:
            self._frozen = self._freeze(runner)
            text = f'learns nothing until epoch {self.epochs} ends'
        else:
            for parameter in self._frozen:
                parameter.requires_grad = True
            self._frozen = None
            text = 'learns from now on'
        self._wrap_anew(runner)
        runner.logger.info(f'{", ".join(self.modules)} {text}')

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Put frozen modules into evaluation mode, out of which each epoch takes them."""
        if self._frozen is not None:
            for module in self._find(runner):
                if module.training:
                    module.eval()

    def _find(self, runner):
        """The modules, new at each call, as wrapping a model may replace layers.

        Raises:
            UserError: If there is none of that name.
        """
        model = unwrap(runner.model)
        found = []
        for name in self.modules:
            try:
                found.append(model.get_submodule(name))
            except AttributeError:
                children = ', '.join(dict(model.named_children()))
                raise UserError(f"FreezeHook.modules names '{name}', which the model does not "
                                f'have: it consists of {children}') from None
        return found

    def _freeze(self, runner):
        """Freeze what learns in the modules and return it, list[nn.Parameter].

        Raises:
            UserError: If that is all that the model could learn.
        """
        learning = dict.fromkeys(
            parameter for module in self._find(runner) for parameter in module.parameters()
            if parameter.requires_grad)
        for parameter in learning:
            parameter.requires_grad = False
        if not any(parameter.requires_grad for parameter in runner.model.parameters()):
            raise UserError(f'FreezeHook.modules = {self.modules} is all that could learn: '
                            'leave something out')
        return list(learning)

    @staticmethod
    def _wrap_anew(runner):
        """Have DistributedDataParallel look again at what learns."""
        if not is_model_wrapper(runner.model):
            return
        runner.model = unwrap(runner.model)
        # Its reducer holds a copy of every gradient, and goes with the last reference cycle.
        gc.collect()
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), runner.model)
        # torch.compile, where the config asks for it, is applied to the wrapper's method.
        runner._maybe_compile('train_step')
