"""Compare the model's number of classes with the data's."""
from mmengine.hooks import Hook

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS

_NAMED = 5


@HOOKS.register_module()
class CheckNumClassesHook(Hook):
    """Stop before training, validation or testing if the numbers of classes differ.

    A head with too few classes fails on some label far into an epoch, one with too many
    learns classes that do not exist; both are found here first.
    """

    def before_train(self, runner):
        """Check the training data."""
        self._check(runner, runner.train_dataloader.dataset, 'train_dataloader')

    def before_val(self, runner):
        """Check the validation data."""
        self._check(runner, runner.val_dataloader.dataset, 'val_dataloader')

    def before_test(self, runner):
        """Check the test data."""
        self._check(runner, runner.test_dataloader.dataset, 'test_dataloader')

    def _check(self, runner, dataset, loader):
        """Compare one data set with the model's ``bbox_head``.

        Raises:
            UserError: With both numbers and the setting to change.
        """
        classes = (getattr(dataset, 'metainfo', None) or {}).get('classes')
        head = getattr(unwrap(runner.model), 'bbox_head', None)
        num_classes = getattr(head, 'num_classes', None)
        if classes is None or num_classes is None:
            return
        # A lone name without a tuple's comma would count as many classes as it has letters.
        if isinstance(classes, str):
            raise UserError(f"{loader}.dataset.metainfo.classes is the text '{classes}': write "
                            f"classes=('{classes}', ) with a comma")
        if len(classes) != num_classes:
            names = ', '.join(classes[:_NAMED]) + (', ...' if len(classes) > _NAMED else '')
            source = getattr(dataset, 'ann_file', '') or type(dataset).__name__
            raise UserError(
                f'{loader} has {len(classes)} classes ({names}) by {source}, but '
                f'model.bbox_head predicts {num_classes}: set '
                f'model.bbox_head.num_classes={len(classes)}, or the names of your classes in '
                f'{loader}.dataset.metainfo.classes')
