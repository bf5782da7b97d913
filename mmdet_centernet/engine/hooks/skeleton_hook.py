"""Transfer of the dataset's metainfo to the head."""
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import Keypoints
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class SkeletonHook(Hook):
    """Hook that passes the dataset's metainfo, such as flip pairs, to the head and checks it.

    It acts before training, validation and testing. Heads of other packages are left alone.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the training data, which must have keypoints if the model is trained on any."""
        if getattr(unwrap(runner.model), 'with_labels', True):
            fit_skeleton(runner.model, runner.train_dataloader.dataset, 'train_dataloader')

    def before_val(self, runner: Runner) -> None:
        """Check the validation data."""
        fit_skeleton(runner.model, runner.val_dataloader.dataset, 'val_dataloader')

    def before_test(self, runner: Runner) -> None:
        """Check the test data."""
        fit_skeleton(runner.model, runner.test_dataloader.dataset, 'test_dataloader')


def fit_skeleton(model: nn.Module, dataset: Dataset[Any], loader: str) -> None:
    """Pass the metainfo of a dataset to a model's ``bbox_head``.

    Args:
        model (nn.Module): May be wrapped.
        dataset (Dataset): Its ``metainfo`` is passed, if any.
        loader (str): Name of the data loader in errors, such as ``'val_dataloader'``.

    Raises:
        UserError: If they do not fit; names the setting to change.
    """
    head = getattr(unwrap(model), 'bbox_head', None)
    if not isinstance(head, CenterHead):
        return
    meta = getattr(dataset, 'metainfo', None) or {}
    source = getattr(dataset, 'ann_file', '') or type(dataset).__name__
    keypoints = head.find_property(Keypoints)
    # The boxes of a pose model can be tested with data that has no keypoints.
    if keypoints and loader == 'train_dataloader' and 'num_keypoints' not in meta:
        raise UserError(
            f'model.bbox_head learns {keypoints.num_keypoints} keypoints, but {loader} has none '
            f'by {source}: set {loader}.dataset.type=mmdet_centernet.CocoPoseDataset')
    try:
        head.use_dataset(meta)
        for each in head.properties:
            if isinstance(each, Keypoints):
                each.compare_pairs(meta)
    except UserError as error:
        raise UserError(f'{loader}, by {source}: {error}') from None
