"""Compare the model's joints with the data's."""
from mmengine.hooks import Hook

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class SkeletonHook(Hook):
    """Give a pose head the data's pairs of left and right joints, and see that all fits.

    Before training, validation and testing; models whose ``bbox_head`` has no
    ``num_keypoints`` are left alone. A head that has ``flip_pairs`` keeps them.
    """

    def before_train(self, runner):
        """Check the training data, which must have joints."""
        fit_skeleton(runner.model, runner.train_dataloader.dataset, 'train_dataloader')

    def before_val(self, runner):
        """Check the validation data."""
        fit_skeleton(runner.model, runner.val_dataloader.dataset, 'val_dataloader')

    def before_test(self, runner):
        """Check the test data."""
        fit_skeleton(runner.model, runner.test_dataloader.dataset, 'test_dataloader')


def fit_skeleton(model, dataset, loader):
    """Compare a data set with a model's ``bbox_head``, and give the head its pairs of joints.

    Args:
        model (nn.Module): May be wrapped.
        dataset (Dataset): With ``metainfo``.
        loader (str): What errors call it, such as ``'val_dataloader'``.

    Raises:
        UserError: With what both have and the setting to change.
    """
    head = getattr(unwrap(model), 'bbox_head', None)
    num_keypoints = getattr(head, 'num_keypoints', None)
    if num_keypoints is None:
        return
    meta = getattr(dataset, 'metainfo', None) or {}
    source = getattr(dataset, 'ann_file', '') or type(dataset).__name__
    if 'num_keypoints' not in meta:
        # A pose model's boxes can be tested with data that has no joints.
        if loader == 'train_dataloader':
            raise UserError(
                f'model.bbox_head learns {num_keypoints} joints, but {loader} has none by '
                f'{source}: set {loader}.dataset.type=mmdet_centernet.CocoPoseDataset')
        return
    if meta['num_keypoints'] != num_keypoints:
        raise UserError(
            f'{loader} has {meta["num_keypoints"]} joints by {source}, but model.bbox_head '
            f'predicts {num_keypoints}: set '
            f'model.bbox_head.num_keypoints={meta["num_keypoints"]}')
    if head.flip_pairs is None:
        head.flip_pairs = list(meta['flip_pairs'])
    elif _unordered(head.flip_pairs) != _unordered(meta['flip_pairs']):
        raise UserError(
            f'{loader} has the pairs of left and right joints {_listed(meta["flip_pairs"])} '
            f'by {source}, but model.bbox_head.flip_pairs is {_listed(head.flip_pairs)}: '
            'leave flip_pairs out of the model')


def _unordered(pairs):
    return {frozenset(pair) for pair in pairs}


def _listed(pairs):
    return [tuple(pair) for pair in pairs]
