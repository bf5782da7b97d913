"""The model's joints and the data's."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseTTAModel

from mmdet_centernet.datasets import CocoPoseDataset
from mmdet_centernet.datasets.skeleton import COCO_SKELETON, parse_skeleton
from mmdet_centernet.engine.hooks import SkeletonHook
from mmdet_centernet.errors import UserError

STAGES = pytest.mark.parametrize('stage', ['train', 'val', 'test'])
HANDS = parse_skeleton(category=dict(keypoints=['head', 'left_hand', 'right_hand']))


def make_runner(skeleton, **head):
    dataset = SimpleNamespace(metainfo=dict(skeleton, classes=('a', )), ann_file='x.json')
    model = torch.nn.Module()
    model.bbox_head = SimpleNamespace(**head)
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(model=model, train_dataloader=loader, val_dataloader=loader,
                           test_dataloader=loader)


def call(stage, runner):
    getattr(SkeletonHook(), f'before_{stage}')(runner)


@STAGES
def test_head_gets_the_pairs(stage):
    runner = make_runner(HANDS, num_keypoints=3, flip_pairs=None)
    call(stage, runner)
    assert runner.model.bbox_head.flip_pairs == [(1, 2)]
    # As MMEngine does: validation within training, and test after it.
    for other in ('train', 'val', 'test'):
        call(other, runner)


@STAGES
def test_numbers_differ(stage):
    with pytest.raises(UserError) as error:
        call(stage, make_runner(HANDS, num_keypoints=17, flip_pairs=None))
    assert str(error.value) == (
        f'{stage}_dataloader has 3 joints by x.json, but model.bbox_head predicts 17: set '
        'model.bbox_head.num_keypoints=3')


def test_pairs_differ():
    head = dict(num_keypoints=3, flip_pairs=[[0, 2]])
    with pytest.raises(UserError) as error:
        call('val', make_runner(HANDS, **head))
    assert str(error.value) == (
        'val_dataloader has the pairs of left and right joints [(1, 2)] by x.json, but '
        'model.bbox_head.flip_pairs is [(0, 2)]: leave flip_pairs out of the model')
    with pytest.raises(UserError, match=r'flip_pairs is \[\]'):
        call('val', make_runner(HANDS, num_keypoints=3, flip_pairs=[]))


def test_equal_pairs_stay():
    head = dict(num_keypoints=3, flip_pairs=[[2, 1]])
    runner = make_runner(HANDS, **head)
    call('train', runner)
    assert runner.model.bbox_head.flip_pairs == [[2, 1]]


def test_data_without_joints():
    """Cannot be learnt from, but a pose model's boxes can be tested with it."""
    runner = make_runner({}, num_keypoints=17, flip_pairs=None)
    with pytest.raises(UserError, match=(
            'learns 17 joints, but train_dataloader has none by x.json: set '
            'train_dataloader.dataset.type=mmdet_centernet.CocoPoseDataset')):
        call('train', runner)
    call('val', runner)
    call('test', runner)
    assert runner.model.bbox_head.flip_pairs is None


@STAGES
def test_other_heads_are_left_alone(stage):
    runner = make_runner(HANDS, num_classes=3)
    call(stage, runner)
    assert vars(runner.model.bbox_head) == dict(num_classes=3)
    runner.model = torch.nn.Linear(1, 1)
    call(stage, runner)


class Augmented(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_pairs_reach_a_model_within_another():
    runner = make_runner(COCO_SKELETON, num_keypoints=17, flip_pairs=None)
    inner = runner.model
    inner.test_step = None
    runner.model = Augmented(inner)
    call('test', runner)
    assert inner.bbox_head.flip_pairs == CocoPoseDataset.METAINFO['flip_pairs']
