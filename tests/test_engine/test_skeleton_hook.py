"""The model's keypoints and the data's."""
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseTTAModel

from mmdet_centernet.datasets import CocoPoseDataset
from mmdet_centernet.datasets.skeleton import COCO_SKELETON, merge_skeletons, parse_skeleton
from mmdet_centernet.engine.hooks import SkeletonHook
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead, CenterNetHead, CenterNetPoseHead
from mmdet_centernet.models.properties import Box, Keypoints

STAGES = pytest.mark.parametrize('stage', ['train', 'val', 'test'])
HANDS = parse_skeleton(category=dict(keypoints=['head', 'left_hand', 'right_hand']))


def make_pose_head(num_keypoints, **options):
    return CenterNetPoseHead(
        num_classes=1, num_keypoints=num_keypoints, in_channels=2, feat_channels=2, **options)


def make_runner(skeleton, head, classes=('a', )):
    dataset = SimpleNamespace(metainfo=dict(skeleton, classes=classes), ann_file='x.json')
    model = torch.nn.Module()
    model.bbox_head = head
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(model=model, train_dataloader=loader, val_dataloader=loader,
                           test_dataloader=loader)


def pairs_of(runner):
    return runner.model.bbox_head.find_property(Keypoints).flip_pairs


def call(stage, runner):
    getattr(SkeletonHook(), f'before_{stage}')(runner)


@STAGES
def test_head_gets_the_pairs(stage):
    runner = make_runner(HANDS, make_pose_head(3))
    call(stage, runner)
    assert pairs_of(runner) == [(1, 2)]
    # As MMEngine does: validation within training, and test after it.
    for other in ('train', 'val', 'test'):
        call(other, runner)


@STAGES
def test_numbers_differ(stage):
    with pytest.raises(UserError) as error:
        call(stage, make_runner(HANDS, make_pose_head(17)))
    assert str(error.value) == (
        f'{stage}_dataloader, by x.json: the data set has 3 keypoints, but model.bbox_head '
        'predicts 17: set model.bbox_head.num_keypoints=3')


def test_pairs_differ():
    with pytest.raises(UserError) as error:
        call('val', make_runner(HANDS, make_pose_head(3, flip_pairs=[[0, 2]])))
    assert str(error.value) == (
        'val_dataloader, by x.json: the data set has the pairs of left and right keypoints '
        '[(1, 2)], but model.bbox_head.flip_pairs is [(0, 2)]: leave flip_pairs out of the model')
    with pytest.raises(UserError, match=r'flip_pairs is \[\]'):
        call('val', make_runner(HANDS, make_pose_head(3, flip_pairs=[])))


def test_pairs_of_two_data_sets_differ():
    """Nothing is wrong with the model then."""
    runner = make_runner(HANDS, make_pose_head(3))
    call('train', runner)
    runner.val_dataloader = SimpleNamespace(dataset=SimpleNamespace(
        metainfo=dict(HANDS, flip_pairs=[(0, 1)]), ann_file='y.json'))
    with pytest.raises(UserError) as error:
        call('val', runner)
    assert str(error.value) == (
        'val_dataloader, by y.json: the data set has the pairs of left and right keypoints '
        '[(0, 1)], but the one before it had [(1, 2)]: give both the same skeleton')


def test_equal_pairs_stay():
    runner = make_runner(HANDS, make_pose_head(3, flip_pairs=[[2, 1]]))
    call('train', runner)
    assert pairs_of(runner) == [[2, 1]]


def test_data_without_keypoints():
    """Cannot be learned from, but a pose model's boxes can be tested with it."""
    runner = make_runner({}, make_pose_head(17))
    with pytest.raises(UserError, match=(
            'learns 17 keypoints, but train_dataloader has none by x.json: set '
            'train_dataloader.dataset.type=mmdet_centernet.CocoPoseDataset')):
        call('train', runner)
    call('val', runner)
    call('test', runner)
    assert pairs_of(runner) is None


@STAGES
def test_other_heads_are_left_alone(stage):
    head = CenterNetHead(num_classes=3, in_channels=2, feat_channels=2)
    call(stage, make_runner(HANDS, head))
    assert head.find_property(Keypoints) is None
    other = torch.nn.Identity()
    other.num_classes = 3
    before = dict(vars(other))
    runner = make_runner(HANDS, other)
    call(stage, runner)
    assert vars(other) == before
    runner.model = torch.nn.Linear(1, 1)
    call(stage, runner)


class Augmented(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


def test_pairs_reach_a_model_within_another():
    runner = make_runner(COCO_SKELETON, make_pose_head(17))
    inner = runner.model
    inner.test_step = None
    runner.model = Augmented(inner)
    call('test', runner)
    assert inner.bbox_head.find_property(Keypoints).flip_pairs == (
        CocoPoseDataset.METAINFO['flip_pairs'])


PAWS = parse_skeleton(category=dict(keypoints=['nose', 'tail', 'r_paw', 'l_paw']))
CLASSES = 'disc', 'figure', 'dog'


def mixed_meta(**skeletons):
    return dict(merge_skeletons(list(skeletons.values())), skeletons=skeletons)


MIXED = mixed_meta(figure=HANDS, dog=PAWS)


def make_mixed_runner(*properties, meta=MIXED):
    head = CenterHead(len(CLASSES), 2, 2, properties=[Box(), *properties])
    return make_runner(meta, head, CLASSES)


@STAGES
def test_each_skeleton_gets_its_own_pairs(stage):
    figure = Keypoints(3, classes=['figure'])
    dog = Keypoints(4, name='dog', classes=['dog'])
    call(stage, make_mixed_runner(figure, dog))
    assert (figure.labels, figure.flip_pairs) == ((1, ), [(1, 2)])
    assert (dog.labels, dog.flip_pairs) == ((2, ), [(2, 3)])


def test_skeletons_that_agree_may_share_keypoints():
    both = Keypoints(3, classes=['dog', 'figure'])
    call('train', make_mixed_runner(both, meta=mixed_meta(figure=HANDS, dog=HANDS)))
    assert both.labels == (2, 1) and both.flip_pairs == [(1, 2)]
    # Those of classes that are not asked for do not matter.
    every = Keypoints(3)
    call('train', make_mixed_runner(every, meta=mixed_meta(figure=HANDS)))
    assert every.flip_pairs == [(1, 2)]


@pytest.mark.parametrize('keypoints, meta, words', [
    (dict(num_keypoints=3, classes=['cow']), MIXED,
     "Keypoints(classes=['cow']) names the class 'cow', which the data set does not have: its "
     "classes are ['disc', 'figure', 'dog']"),
    (dict(num_keypoints=3, classes=['disc']), MIXED,
     "Keypoints(classes=['disc']) is for the class 'disc', which has no keypoints in the data "
     "set: those with keypoints are ['figure', 'dog']"),
    (dict(num_keypoints=3, classes=['dog']), MIXED,
     "the data set has 4 keypoints, but Keypoints(classes=['dog']) predicts 3: set its "
     'num_keypoints=4'),
    (dict(num_keypoints=4, classes=['dog'], flip_pairs=[(0, 1)]), MIXED,
     'the data set has the pairs of left and right keypoints [(2, 3)], but '
     "Keypoints(classes=['dog']).flip_pairs is [(0, 1)]: leave flip_pairs out of the model"),
    (dict(num_keypoints=4), MIXED,
     "the classes of the data set have different numbers of keypoints, {'figure': 3, 'dog': 4}, "
     'but model.bbox_head predicts the same number for all: compose mmdet_centernet.CenterHead '
     'with Keypoints for each skeleton, which have classes and names of their own'),
    (dict(num_keypoints=3, classes=['figure', 'dog']),
     mixed_meta(figure=HANDS, dog=dict(HANDS, flip_pairs=[])),
     "different pairs of left and right keypoints, {'figure': [(1, 2)], 'dog': []}, but "
     "Keypoints(classes=['figure', 'dog']) has one list for all: compose"),
])
def test_keypoints_that_do_not_fit_the_classes(keypoints, meta, words):
    with pytest.raises(UserError) as error:
        call('test', make_mixed_runner(Keypoints(**keypoints), meta=meta))
    text = str(error.value)
    assert text.startswith('test_dataloader, by x.json: ') and words in text and '\n' not in text


def test_pose_head_does_not_take_plain_boxes():
    """It would not learn their sizes."""
    runner = make_runner(mixed_meta(figure=HANDS), make_pose_head(3), ('figure', 'disc'))
    with pytest.raises(UserError, match=(
            r"learns sizes of objects with keypoints only, but \['disc'\] have none: compose "
            'mmdet_centernet.CenterHead with Box and Keypoints')):
        call('train', runner)
