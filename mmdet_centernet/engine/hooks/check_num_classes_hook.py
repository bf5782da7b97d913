"""Comparison of the model's number of classes with the dataset's."""
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS

_NAMED = 5


@HOOKS.register_module()
class CheckNumClassesHook(Hook):
    """Hook that stops a run if model and dataset differ in their number of classes.

    It checks before training, validation and testing. A head with too few classes would fail
    on some label far into an epoch; one with too many would train classes that do not exist.
    (``mmdet.NumClassCheckHook`` leaves test data unchecked and names neither the annotation
    file nor the setting to change.)
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training data."""
        self._check(runner, runner.train_dataloader.dataset, 'train_dataloader')

    def before_val(self, runner: Runner) -> None:
        """Check the validation data."""
        self._check(runner, runner.val_dataloader.dataset, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Check the test data."""
        self._check(runner, runner.test_dataloader.dataset, 'test_dataloader')

    def _check(self, runner: Runner, dataset: Any, loader: str) -> None:
        """Compare one dataset with the model's ``bbox_head``.

        Raises:
            UserError: If the numbers differ; names both and the setting to change.
        """
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        head = getattr(unwrap(runner.model), 'bbox_head', None)
        num_classes = getattr(head, 'num_classes', None)
        if classes is None or num_classes is None:
            return
        # A name without a tuple's comma would count one class for each of its letters.
        if isinstance(classes, str):
            raise UserError(f"{loader}.dataset.metainfo.classes is the string '{classes}': write "
                            f"classes=('{classes}', ) with a comma")
        if len(classes) != num_classes:
            names = ', '.join(classes[:_NAMED]) + (', ...' if len(classes) > _NAMED else '')
            source = getattr(dataset, 'ann_file', '') or type(dataset).__name__
            raise UserError(
                f'{loader} has {len(classes)} classes ({names}) according to {source}, but '
                f'model.bbox_head predicts {num_classes}: set '
                f'model.bbox_head.num_classes={len(classes)}, or the names of your classes in '
                f'{loader}.dataset.metainfo.classes')
