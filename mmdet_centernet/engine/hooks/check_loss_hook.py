"""Check that the loss stays finite."""
import math
from collections import deque
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class CheckLossHook(Hook):
    """Hook that stops training if a loss is infinite or NaN.

    The error names the iteration and its images. (``mmdet.CheckInvalidLossHook`` names neither
    and checks the sum alone.) The losses are read from the message hub, which already holds
    them as numbers, so a check does not synchronize with the GPU. The check at the end of an
    epoch precedes the checkpoint, so that no checkpoint holds NaN.

    Args:
        interval (int): Iterations between checks.
    """

    # After RuntimeInfoHook (VERY_HIGH), which writes the losses, before CheckpointHook.
    priority = 'NORMAL'

    def __init__(self, interval: int = 10) -> None:
        if interval < 1:
            raise UserError(f'CheckLossHook.interval = {interval} must be at least 1 '
                            '(iterations)')
        self.interval = interval
        self._recent: deque[tuple[int, list[str]]] = deque(maxlen=interval)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Remember the batch's images; check the losses every ``interval`` iterations."""
        samples = (data_batch or {}).get('data_samples') or []
        self._recent.append((runner.iter + 1, [s.get('img_path', '?') for s in samples]))
        if len(self._recent) == self.interval:
            self._check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check the remaining losses before the checkpoint is saved."""
        self._check(runner)

    def _check(self, runner: Runner) -> None:
        """Check the losses of the batches since the last check.

        Raises:
            UserError: If a loss is not finite; names the first such iteration.
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
                    f'the loss is infinite or NaN since iteration {iteration} '
                    f'({", ".join(bad)}), whose images were {", ".join(files)}: lower '
                    'optim_wrapper.optimizer.lr or add optim_wrapper.clip_grad, train without '
                    '--amp, and check these images and their boxes. (A property of your own: '
                    'targets that are NaN need the weight 0.)')
