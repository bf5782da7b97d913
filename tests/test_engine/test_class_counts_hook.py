"""Numbers of objects per class for the heatmap's loss."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset

from mmdet_centernet.engine.hooks import ClassCountsHook
from mmdet_centernet.engine.hooks.class_counts_hook import count_classes
from mmdet_centernet.models.dense_heads import CenterNetHead


class Labels(BaseDataset):
    """A data set of images with some labels."""

    def __init__(self, images=((0, 0, 1), (), (0,))):
        self.images = images
        super().__init__(metainfo=dict(classes=('a', 'b', 'c')))

    def load_data_list(self):
        return [dict(labels=list(labels)) for labels in self.images]

    def get_cat_ids(self, index):
        return self.get_data_info(index)['labels']


@pytest.mark.parametrize(('dataset', 'expected'), [
    (Labels(), [3, 1, 0]),
    (RepeatDataset(Labels(), times=4), [12, 4, 0]),
    (ConcatDataset([Labels(), Labels([(2, -1, 7), (2,)])]), [3, 1, 2]),
    # Images with objects are shown ceil(sqrt(0.75 / frequency)) = 2 times.
    (ClassBalancedDataset(Labels(), oversample_thr=0.75), [6, 2, 0]),
], ids=['plain', 'repeated', 'joined', 'balanced'])
def test_objects_are_counted_as_often_as_an_epoch_shows_them(dataset, expected):
    assert count_classes(dataset, 3).tolist() == expected


def run(loss, dataset=None):
    head = CenterNetHead(3, 4, 4, loss_center_heatmap=dict(
        type='mmdet_centernet.GaussianFocalLoss', **loss))
    model = torch.nn.Module()
    model.bbox_head = head
    ClassCountsHook().before_train(SimpleNamespace(
        model=model, train_dataloader=SimpleNamespace(dataset=dataset or Labels())))
    return head.losses['heatmap']


def test_balanced_weights_have_a_mean_of_1_over_the_objects():
    weight = run(dict(class_weight='balanced')).class_weight
    assert float(weight[1] / weight[0]) == pytest.approx(3**0.5)
    assert float((weight * torch.tensor([3.0, 1, 0])).sum() / 4) == pytest.approx(1)


def test_losses_without_counts_are_left_alone():
    assert run({}, dataset=object()).class_counts is None


def test_datasets_that_cannot_be_counted_are_named():
    with pytest.raises(ValueError, match='is a list, whose objects cannot be counted'):
        run(dict(class_weight='balanced'), dataset=[1])
