"""Compare a checkpoint with the model that it is about to be loaded into."""
from mmengine.hooks import Hook

from mmdet_centernet.checkpoints.convert import hint_for
from mmdet_centernet.checkpoints.read import load_state, state_dict_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class CheckCheckpointHook(Hook):
    """Stop if a checkpoint does not belong to the model.

    MMEngine only warns about tensors that do not fit, so a wrong checkpoint would be tested
    with random weights. Testing and resuming need every tensor. Training from ``load_from``
    goes on as long as something fits, and one line says what did not.
    """

    # After hooks that exchange the weights, such as EMAHook.
    priority = 'LOW'

    def after_load_checkpoint(self, runner, checkpoint):
        """Load the weights and look at what was left out.

        Raises:
            UserError: If the checkpoint is another model's.
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
                f'the others at their initial values: {outcome.differences()}')
            return
        raise UserError(
            f'checkpoint {path} is not of this model, {outcome.loaded} of its '
            f'{outcome.total} tensors were found: {outcome.differences()}; '
            f'{hint_for(weights) or "use the config that it was trained with"}')
