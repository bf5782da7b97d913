"""Hooks that stop a run."""
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from mmdet.evaluation import CocoMetric, VOCMetric
from mmengine.logging import MessageHub

from mmdet_centernet.engine.hooks import (
    CheckBoxesHook,
    CheckCheckpointHook,
    CheckLossHook,
    CheckNumClassesHook,
)
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import LTRB, Attribute, Keypoints


def loss_runner(name):
    return SimpleNamespace(iter=0, message_hub=MessageHub.get_instance(name))


def feed(hook, runner, losses, file='img_{}.jpg'):
    for value in losses:
        runner.message_hub.update_scalar('train/loss', value)
        runner.message_hub.update_scalar('train/loss_wh', value)
        runner.message_hub.update_scalar('train/lr', float('nan'))  # no loss
        sample = SimpleNamespace(get=lambda key, default, i=runner.iter: file.format(i))
        hook.after_train_iter(runner, runner.iter, dict(data_samples=[sample]))
        runner.iter += 1


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_loss_names_first_bad_iteration_and_its_images(bad):
    runner = loss_runner(f'loss{bad}')
    hook = CheckLossHook(interval=4)
    feed(hook, runner, [1.0, 2.0, 3.0, 4.0])
    with pytest.raises(UserError, match=r'iteration 6 \(loss, loss_wh\).*img_5\.jpg') as error:
        feed(hook, runner, [1.0, bad, bad, 1.0])
    assert 'img_4' not in str(error.value) and 'lr' in str(error.value)


def test_loss_is_checked_before_the_epoch_is_saved():
    runner = loss_runner('epoch')
    hook = CheckLossHook(interval=100)
    feed(hook, runner, [1.0, float('nan')])
    with pytest.raises(UserError, match='iteration 2'):
        hook.after_train_epoch(runner)


def test_finite_losses_go_on():
    runner = loss_runner('finite')
    hook = CheckLossHook(interval=3)
    feed(hook, runner, [1.0] * 10)
    hook.after_train_epoch(runner)


def test_interval_must_be_positive():
    with pytest.raises(UserError, match='interval = 0'):
        CheckLossHook(interval=0)


def class_runner(classes, num_classes, **more):
    dataset = SimpleNamespace(metainfo=dict(classes=classes), **more)
    model = torch.nn.Module()
    model.bbox_head = SimpleNamespace(num_classes=num_classes)
    loader = SimpleNamespace(dataset=dataset)
    return SimpleNamespace(model=model, train_dataloader=loader, val_dataloader=loader,
                           test_dataloader=loader)


@pytest.mark.parametrize('stage', ['train', 'val', 'test'])
def test_class_counts(stage):
    check = getattr(CheckNumClassesHook(), f'before_{stage}')
    check(class_runner(('a', 'b'), 2))
    with pytest.raises(UserError, match=(
            rf'{stage}_dataloader has 3 classes \(a, b, c\) according to x\.json, but '
            r'model\.bbox_head predicts 2: set model\.bbox_head\.num_classes=3')):
        check(class_runner(('a', 'b', 'c'), 2, ann_file='x.json'))


def test_forgotten_comma():
    with pytest.raises(UserError, match=r"classes=\('tree', \)"):
        CheckNumClassesHook().before_train(class_runner('tree', 4))


def test_no_classes_is_no_fault():
    CheckNumClassesHook().before_train(class_runner(None, 4))


def checkpoint_runner(training, resume=False):
    lines = []
    return SimpleNamespace(
        model=torch.nn.Linear(2, 3), _train_loop=object() if training else None, _resume=resume,
        _load_from='some.pth', logger=SimpleNamespace(warning=lines.append), lines=lines)


def test_fitting_checkpoint_is_loaded():
    runner = checkpoint_runner(training=False)
    weights = OrderedDict(weight=torch.ones(3, 2), bias=torch.ones(3))
    CheckCheckpointHook().after_load_checkpoint(runner, dict(state_dict=weights))
    assert torch.equal(runner.model.weight, weights['weight']) and not runner.lines


@pytest.mark.parametrize('training, resume', [(False, False), (True, True)])
def test_partly_fitting_checkpoint_stops_testing_and_resuming(training, resume):
    runner = checkpoint_runner(training, resume)
    with pytest.raises(
            UserError, match=r'some\.pth does not fit the model, it provides 1 of 2.*bias'):
        CheckCheckpointHook().after_load_checkpoint(
            runner, dict(state_dict=dict(weight=torch.ones(3, 2))))


def test_partly_fitting_checkpoint_starts_a_training_with_one_line():
    runner = checkpoint_runner(training=True)
    CheckCheckpointHook().after_load_checkpoint(
        runner, dict(state_dict=dict(weight=torch.ones(3, 2), bias=torch.ones(5))))
    line, = runner.lines
    assert '1 of the model\'s 2 tensors' in line and 'bias (5,) in the file, (3,)' in line
    assert torch.equal(runner.model.weight, torch.ones(3, 2))


def test_checkpoint_of_another_model_does_not_start_a_training():
    with pytest.raises(UserError, match='0 of 2'):
        CheckCheckpointHook().after_load_checkpoint(
            checkpoint_runner(training=True), dict(state_dict=dict(other=torch.ones(1))))


def boxes_runner(properties, metrics=(), **test_cfg):
    model = torch.nn.Module()
    model.bbox_head = CenterHead(2, 4, 4, properties=properties, test_cfg=test_cfg)
    evaluator = SimpleNamespace(metrics=list(metrics))
    return SimpleNamespace(model=model, val_loop=object(), val_evaluator=evaluator,
                           test_evaluator=evaluator)


@pytest.mark.parametrize('stage', ['train', 'test'])
@pytest.mark.parametrize(('metrics', 'test_cfg', 'words'), [
    ([CocoMetric(metric='bbox', ann_file=None)], {}, 'mmdet.CocoMetric evaluates boxes'),
    ([VOCMetric()], {}, 'mmdet.VOCMetric evaluates boxes'),
    ([], dict(nms=dict(type='nms', iou_threshold=0.5)), 'test_cfg.nms compares boxes')])
def test_forgotten_boxes(stage, metrics, test_cfg, words):
    check = getattr(CheckBoxesHook(), f'before_{stage}')
    with pytest.raises(UserError, match=f'{words}, but no property of model.bbox_head predicts'):
        check(boxes_runner([Attribute('age', kind='number')], metrics, **test_cfg))
    check(boxes_runner([LTRB(), Attribute('age', kind='number')], metrics, **test_cfg))
    check(boxes_runner([Keypoints(3)], metrics, **test_cfg))  # the boxes around them


def test_heads_without_boxes_may_have_other_metrics():
    runner = boxes_runner([Attribute('age', kind='number')])
    CheckBoxesHook().before_test(runner)
    runner.val_loop = runner.val_evaluator = None
    CheckBoxesHook().before_train(runner)
