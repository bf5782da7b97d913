"""Comparison of a checkpoint with the model that it is loaded into."""
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_centernet.checkpoints.convert import hint_for
from mmdet_centernet.checkpoints.read import load_state, state_dict_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class CheckCheckpointHook(Hook):
    """Hook that stops a run whose checkpoint does not belong to the model.

    MMEngine only warns about tensors that do not fit, so a wrong checkpoint would be tested
    with random weights. Testing and resuming need every tensor. Training from ``load_from``
    continues if at least one tensor fits, and logs which ones do not.
    """

    # After hooks that swap the weights, such as EMAHook.
    priority = 'LOW'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Load the weights and report the tensors that do not fit.

        Raises:
            UserError: If the checkpoint belongs to another model.
        """
        path = runner._load_from or 'the last checkpoint'
        weights = state_dict_of(checkpoint, f'checkpoint {path}')
        outcome = load_state(runner.model, weights)
        if outcome.complete:
            return
        starting = runner._train_loop is not None and not isinstance(
            runner._train_loop, dict) and not runner._resume
        if starting and outcome.loaded > 0:
            runner.logger.warning(
                f"{outcome.loaded} of the model's {outcome.total} tensors start from {path}, "
                f'the others keep their initial values: {outcome.differences()}')
            return
        raise UserError(
            f'checkpoint {path} does not fit the model, it provides {outcome.loaded} of '
            f'{outcome.total} tensors: {outcome.differences()}; '
            f'{hint_for(weights) or "use the config that it was trained with"}')
