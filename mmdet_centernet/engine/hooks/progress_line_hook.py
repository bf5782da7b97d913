"""Progress of a run, as one line on the console."""
import atexit
import logging
import sys
import time
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from mmdet_centernet.registry import HOOKS


def duration(seconds: float) -> str:
    """Format a time span: ``45 s``, ``3 min 20 s``, ``2 h 05 min``.

    >>> duration(200)
    '3 min 20 s'
    """
    seconds = int(round(seconds))
    if seconds < 60:
        return f'{seconds} s'
    if seconds < 3600:
        return f'{seconds // 60} min {seconds % 60:02d} s'
    return f'{seconds // 3600} h {seconds % 3600 // 60:02d} min'


class _WithoutIterationLines(logging.Filter):
    """Filter that drops LoggerHook's lines about single iterations."""

    _HIDDEN = ('after_train_iter', 'after_val_iter', 'after_test_iter')

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.module == 'logger_hook' and record.funcName in self._HIDDEN)


@HOOKS.register_module()
class ProgressLineHook(Hook):
    """Hook that prints epoch, iteration, loss and the remaining time as one line.

    A terminal shows a live line below the log; elsewhere (a file, a CI log) a plain line is
    printed from time to time. LoggerHook's lines about iterations go to its file only; all
    others stay on the console. Only the first process prints.

    Args:
        refresh_seconds (float): Minimum time between updates of the live line.
        plain_seconds (float): Minimum time between plain lines.
        window (int): Number of iterations over which losses and times are averaged.
    """

    # After LoggerHook (BELOW_NORMAL), before the checkpoint is saved.
    priority = 'LOW'

    def __init__(
        self, refresh_seconds: float = 0.5, plain_seconds: float = 20.0, window: int = 20
    ) -> None:
        self.refresh_seconds = refresh_seconds
        self.plain_seconds = plain_seconds
        self.window = window
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._handlers: list[tuple[logging.StreamHandler[TextIO], TextIO]] = []
        self._filter = _WithoutIterationLines()
        self._shown_at = 0.0
        self._train_seconds = 0.0
        self._train_iters = 0
        self._tick = 0.0
        self._val_began = 0.0
        self._val_seconds = 0.0  # of the last validation; 0 before the first

    def before_run(self, runner: Runner) -> None:
        """Take the console over from LoggerHook's iteration lines."""
        if not is_main_process() or self._handlers:
            return
        self._handlers = [(h, h.stream) for h in runner.logger.handlers
                          if type(h) is logging.StreamHandler]
        if sys.stdout.isatty():
            self._progress = Progress(
                TextColumn('{task.description}'), BarColumn(bar_width=12),
                TextColumn('{task.fields[text]}'), console=Console(file=sys.stdout),
                transient=True)
            self._progress.start()
            self._task = self._progress.add_task('starting', total=None, text='')
        for handler, _ in self._handlers:
            handler.addFilter(self._filter)
            if self._progress:
                # Rich prints above the live line what is written to its replacement of stdout.
                handler.setStream(sys.stdout)
        atexit.register(self.close)

    def close(self) -> None:
        """Give the console back. May be called at any time, and repeatedly."""
        if self._progress:
            self._progress.stop()
            self._progress = None
        for handler, stream in self._handlers:
            handler.removeFilter(self._filter)
            handler.setStream(stream)
        self._handlers = []
        atexit.unregister(self.close)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self._tick = time.monotonic()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Update the line."""
        if not self._handlers:
            return
        now = time.monotonic()
        seconds = now - self._tick
        self._tick = now
        # The first iteration warms up caches and workers and does not predict the next.
        if self._train_iters:
            count = min(self._train_iters, self.window)
            self._train_seconds += (seconds - self._train_seconds) / count
        self._train_iters += 1
        done = runner.iter + 1
        last = done == runner.max_iters
        if not self._due(now, last):
            return
        epochs = f'epoch {runner.epoch + 1}/{runner.max_epochs}, ' if runner.max_epochs else ''
        left = self._seconds_left(runner, done) if self._train_iters > 1 else None
        self._show(f'{epochs}iteration {done}/{runner.max_iters}', done, runner.max_iters,
                   [f'{duration(left)} left' if left is not None else '', self._losses(runner)])

    def before_val_epoch(self, runner: Runner) -> None:
        """Start the clock of the validation."""
        self._val_began = self._tick = time.monotonic()

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Update the line."""
        self._show_batches('validation', batch_idx, len(runner.val_dataloader))

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Remember the duration of a validation."""
        self._val_seconds = time.monotonic() - self._val_began

    def before_test_epoch(self, runner: Runner) -> None:
        """Start the clock of the test."""
        self._val_began = time.monotonic()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Update the line."""
        self._show_batches('test', batch_idx, len(runner.test_dataloader))

    def after_run(self, runner: Runner) -> None:
        """Give the console back."""
        self.close()

    def _show_batches(self, what: str, batch_idx: int, total: int) -> None:
        now = time.monotonic()
        if not self._handlers or not self._due(now, batch_idx + 1 == total):
            return
        left = (now - self._val_began) / (batch_idx + 1) * (total - batch_idx - 1)
        self._show(f'{what}, batch {batch_idx + 1}/{total}', batch_idx + 1, total,
                   [f'{duration(left)} left'])

    def _due(self, now: float, last: bool) -> bool:
        pause = self.refresh_seconds if self._progress else self.plain_seconds
        if not last and now - self._shown_at < pause:
            return False
        self._shown_at = now
        return True

    def _show(self, head: str, done: int, total: int, parts: list[str]) -> None:
        text = ', '.join(part for part in parts if part)
        if self._progress:
            # A narrow terminal cuts off the end: the parts of the loss.
            self._progress.update(self._task, description=head, completed=done, total=total,
                                  text=text)
        else:
            print(f'{head}, {text}', flush=True)

    def _losses(self, runner: Runner) -> str:
        """Format the mean losses of the last iterations: the sum, then the parts."""
        scalars = runner.message_hub.log_scalars
        means = {name.removeprefix('train/'): history.mean(self.window)
                 for name, history in scalars.items()
                 if name.startswith('train/') and 'loss' in name}
        if 'loss' not in means:
            return ''
        parts = ', '.join(f'{name.removeprefix("loss_")} {value:.3g}'
                          for name, value in means.items() if name != 'loss')
        return f'loss {means["loss"]:.3f}' + (f' ({parts})' if parts else '')

    def _seconds_left(self, runner: Runner, done: int) -> float:
        seconds: float = (runner.max_iters - done) * self._train_seconds
        interval = runner.val_interval if runner.val_loop is not None else 0
        if interval and self._val_seconds and runner.max_epochs:
            begin = max(runner.epoch, getattr(runner, 'val_begin', 1) - 1)
            seconds += (runner.max_epochs - begin) // interval * self._val_seconds
        return seconds
