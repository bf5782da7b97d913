"""Change of the training pipeline during a training."""
from collections.abc import Iterator, Sequence
from typing import Any

from mmcv.transforms import Compose
from mmdet.datasets import MultiImageMixDataset
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class PipelineSwitchHook(Hook):
    """Hook that trains with another pipeline from an epoch or iteration on.

    It ends mosaic and mixup before the end of a training, so that the network finishes on images
    such as it will see (YOLOX, arXiv:2107.08430, Sec. 2). Unlike ``mmdet.PipelineSwitchHook`` it
    reaches data sets inside wrappers (``RepeatDataset``, ``ClassBalancedDataset``,
    ``ConcatDataset``) and works with iteration-based training.

    The pipeline follows from the epoch or iteration alone, so that training can be resumed at any
    time. Workers are started again, persistent ones too; images that they had prepared with the
    old pipeline are not used.

    Args:
        switch_pipeline (Sequence[dict]): The pipeline to switch to.
        switch_epoch (int, optional): Number of epochs with the first pipeline, for an
            epoch-based training.
        switch_iter (int, optional): Number of iterations with it, for an iteration-based one.

    Raises:
        UserError: If not exactly one of the numbers is given, or it is negative; before training,
            if the training counts the other, or mixes images in a ``MultiImageMixDataset``, whose
            pipeline is not the data set's.
    """

    def __init__(
        self,
        switch_pipeline: Sequence[dict[str, Any]],
        switch_epoch: int | None = None,
        switch_iter: int | None = None,
    ) -> None:
        if (switch_epoch is None) == (switch_iter is None):
            raise UserError('PipelineSwitchHook needs either switch_epoch or switch_iter')
        if min(number for number in (switch_epoch, switch_iter) if number is not None) < 0:
            raise UserError(f'PipelineSwitchHook needs switch_epoch={switch_epoch} and '
                            f'switch_iter={switch_iter} not below 0')
        self.switch_pipeline = switch_pipeline
        self.switch_epoch = switch_epoch
        self.switch_iter = switch_iter
        self._switched = False
        self._old_sampler: Any = None

    def before_train(self, runner: Runner) -> None:
        """Check the training loop and the data set, and build the pipeline.

        Raises:
            UserError: If they do not fit the hook.
        """
        loop = runner.train_loop
        fits = EpochBasedTrainLoop if self.switch_iter is None else IterBasedTrainLoop
        if not isinstance(loop, fits):
            given, needed = ('switch_epoch', 'switch_iter') if self.switch_iter is None else (
                'switch_iter', 'switch_epoch')
            raise UserError(f'PipelineSwitchHook has {given}, but train_cfg is a '
                            f'{type(loop).__name__}: set {needed}')
        for dataset in _innermost(runner.train_dataloader.dataset):
            if not hasattr(dataset, 'pipeline'):
                raise UserError(f'PipelineSwitchHook finds no pipeline in a '
                                f'{type(dataset).__name__}: remove the hook from custom_hooks')
        self._pipeline = Compose(self.switch_pipeline)
        switch, end = (self.switch_epoch, runner.max_epochs) if self.switch_iter is None else (
            self.switch_iter, runner.max_iters)
        if switch is not None and switch >= end:
            runner.logger.warning(
                f'PipelineSwitchHook switches the pipeline after {switch} of {end} '
                f'{"epochs" if self.switch_iter is None else "iterations"}, which is never')
        if self.switch_iter is not None and runner.iter >= self.switch_iter:
            self._switch(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch at the beginning of the epoch."""
        if self.switch_epoch is not None and runner.epoch >= self.switch_epoch:
            self._switch(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Switch after the last iteration with the first pipeline."""
        if self.switch_iter is not None and self.switch_iter <= runner.iter + 1 < runner.max_iters:
            self._switch(runner)

    def _switch(self, runner: Runner) -> None:
        """Replace the pipeline, once."""
        if self._switched:
            return
        self._switched = True
        loader = runner.train_dataloader
        for dataset in _innermost(loader.dataset):
            dataset.pipeline = self._pipeline
        # Workers have copies of the data set: the next iteration over the loader starts new ones.
        loader._iterator = None
        if self.switch_iter is not None:
            batches = runner.train_loop.dataloader_iterator
            # Freeing the old iterator would end the generator of InfiniteSampler, which the new
            # one continues.
            self._old_sampler = batches._iterator._sampler_iter
            batches._iterator = iter(loader)
        runner.logger.info('the training pipeline is switched')


def _innermost(dataset: Any) -> Iterator[Any]:
    """Yield the data sets inside wrappers.

    Raises:
        UserError: If a wrapper has a pipeline of its own.
    """
    if isinstance(dataset, MultiImageMixDataset):
        raise UserError('PipelineSwitchHook cannot switch the pipeline of a MultiImageMixDataset: '
                        'use mmdet.CachedMosaic and mmdet.CachedMixUp, which need no such wrapper')
    if hasattr(dataset, 'datasets'):
        for each in dataset.datasets:
            yield from _innermost(each)
    elif hasattr(dataset, 'dataset'):
        yield from _innermost(dataset.dataset)
    else:
        yield dataset
