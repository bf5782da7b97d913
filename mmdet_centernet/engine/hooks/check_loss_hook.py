"""Stop a training whose loss is no longer a number."""
import math
from collections import deque

from mmengine.hooks import Hook

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class CheckLossHook(Hook):
    """Stop with the iteration and its images if a loss is infinite or NaN.

    The losses come from the message hub, which holds them as numbers already: looking
    costs no synchronisation with the GPU. The look at an epoch's end comes before the
    checkpoint is saved, so that no checkpoint holds NaN.

    Args:
        interval (int): Iterations between looks.
    """

    # After RuntimeInfoHook (VERY_HIGH), which writes the losses, before CheckpointHook.
    priority = 'NORMAL'

    def __init__(self, interval=10):
        if interval < 1:
            raise UserError(f'CheckLossHook.interval = {interval}: it counts iterations, '
                            'give at least 1')
        self.interval = interval
        self._recent = deque(maxlen=interval)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        """Remember the batch's images; look every ``interval`` iterations."""
        samples = (data_batch or {}).get('data_samples') or []
        self._recent.append((runner.iter + 1, [s.get('img_path', '?') for s in samples]))
        if len(self._recent) == self.interval:
            self._look(runner)

    def after_train_epoch(self, runner):
        """Look at the rest before the checkpoint is saved."""
        self._look(runner)

    def _look(self, runner):
        """Look at the losses of the batches since the last look.

        Raises:
            UserError: Naming the first iteration with a loss that is no number.
        """
        batches = list(self._recent)
        self._recent.clear()
        scalars = {name.removeprefix('train/'): history.data[0]
                   for name, history in runner.message_hub.log_scalars.items()
                   if name.startswith('train/') and 'loss' in name}
        for back, (iteration, files) in zip(range(len(batches), 0, -1), batches, strict=True):
            bad = [name for name, values in scalars.items()
                   if len(values) >= back and not math.isfinite(values[-back])]
            if bad:
                raise UserError(
                    f'the loss is no longer a finite number since iteration {iteration} '
                    f'({", ".join(bad)}), whose images were {", ".join(files)}: lower '
                    'optim_wrapper.optimizer.lr or add optim_wrapper.clip_grad, train without '
                    '--amp, and look at these images and their boxes')
