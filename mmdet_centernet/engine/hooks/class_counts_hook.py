"""Transfer of the number of training objects of each class to the heatmap's loss."""
from typing import Any

import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class ClassCountsHook(Hook):
    """Hook that counts training objects for a loss that weights or samples classes by them.

    It acts before training, and only on a head whose heatmap loss asks for counts; see
    :class:`mmdet_centernet.GaussianFocalLoss`.
    """

    def before_train(self, runner: Runner) -> None:
        """Count the training data."""
        head = getattr(unwrap(runner.model), 'bbox_head', None)
        if not isinstance(head, CenterHead):
            return
        loss: Any = head.losses['heatmap']
        if getattr(loss, 'needs_class_counts', False):
            counts = count_classes(runner.train_dataloader.dataset, head.num_classes)
            loss.use_class_counts(counts.to(next(head.parameters()).device))


def count_classes(dataset: Any, num_classes: int) -> Tensor:
    """Count the objects of each class in a data set, as often as an epoch shows them.

    Args:
        dataset: of MMDetection's interface (``get_cat_ids``), or one of MMEngine's wrappers.
        num_classes (int): C.

    Returns:
        Tensor[C]: float32.

    Raises:
        UserError: if the data set cannot tell its objects' classes.
    """
    if isinstance(dataset, RepeatDataset):
        once: Tensor = count_classes(dataset.dataset, num_classes)
        return once * int(dataset.times)
    if isinstance(dataset, ConcatDataset):
        return torch.stack([count_classes(each, num_classes) for each in dataset.datasets]).sum(0)
    indices: Any = range(len(dataset))
    if isinstance(dataset, ClassBalancedDataset):
        dataset, indices = dataset.dataset, dataset.repeat_indices
    if not hasattr(dataset, 'get_cat_ids'):
        raise UserError(f'train_dataloader.dataset is a {type(dataset).__name__}, whose objects '
                        'cannot be counted: give the loss class_weight=[...], one per class')
    counts = torch.zeros(num_classes)
    for index in indices:
        labels = torch.tensor(dataset.get_cat_ids(index), dtype=torch.long)
        counts += labels[(labels >= 0) & (labels < num_classes)].bincount(minlength=num_classes)
    return counts
