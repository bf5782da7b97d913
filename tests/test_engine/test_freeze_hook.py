"""FreezeHook in real trainings of a toy: one process, resumed, averaged, and two processes."""
from types import SimpleNamespace

import processes
import pytest
import torch
from freeze_training import EPOCHS, FROZEN_EPOCHS, Toy, build, train_as_one_of_several

from mmdet_centernet.engine.hooks import FreezeHook
from mmdet_centernet.errors import UserError


def trained(folder, build_model=Toy, **options):
    """States before the training and after each epoch, and what learned when."""
    torch.manual_seed(0)
    model = build_model()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    runner, record = build(folder, model, batch_size=4, **options)
    runner.train()
    return [start, *record.states], record.learning


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    return trained(folder), folder


def test_frozen_then_learning(undisturbed):
    (states, learning), _ = undisturbed
    assert len(states) == EPOCHS + 1
    for before, after in zip(states[:FROZEN_EPOCHS], states[1:]):
        for name, value in after.items():
            # Weight decay and batch norm's statistics are included.
            assert torch.equal(value, before[name]) == name.startswith('backbone.'), name
    for before, after in zip(states[FROZEN_EPOCHS:], states[FROZEN_EPOCHS + 1:]):
        # A bias before batch norm has no gradient but for rounding.
        for name in after.keys() - {'backbone.0.bias'}:
            assert not torch.equal(after[name], before[name]), name
    assert all('bbox_head.weight' in names for names in learning)
    assert [('backbone.0.weight' in names) for names in learning] == [False] * 4 + [True] * 4


@pytest.mark.parametrize('epoch', range(1, EPOCHS))
def test_resumed_in_either_phase_equals_undisturbed(undisturbed, tmp_path, epoch):
    (states, _), folder = undisturbed
    resumed, _ = trained(tmp_path, load_from=str(folder / f'epoch_{epoch}.pth'), resume=True)
    assert len(resumed) == EPOCHS + 1 - epoch
    for name, value in states[-1].items():
        assert torch.equal(resumed[-1][name], value), name


def test_parameters_that_the_model_froze_stay_frozen(tmp_path):
    def build_model():
        model = Toy()
        model.backbone[0].requires_grad_(False)
        return model

    states, learning = trained(tmp_path, build_model)
    assert torch.equal(states[0]['backbone.0.weight'], states[-1]['backbone.0.weight'])
    assert not torch.equal(states[0]['backbone.2.weight'], states[-1]['backbone.2.weight'])
    assert learning[-1] == {'backbone.1.weight', 'backbone.1.bias', 'backbone.2.weight',
                            'backbone.2.bias', 'bbox_head.weight', 'bbox_head.bias'}


def test_averaged_weights_of_frozen_modules_are_those_weights(tmp_path):
    ema = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.3,
               update_buffers=True)
    states, _ = trained(tmp_path, hooks=[ema])
    saved = [torch.load(tmp_path / f'epoch_{epoch}.pth', weights_only=True)['state_dict']
             for epoch in range(1, EPOCHS + 1)]
    for epoch, weights in enumerate(saved, 1):
        frozen = torch.equal(weights['backbone.2.weight'], states[0]['backbone.2.weight'])
        assert frozen == (epoch <= FROZEN_EPOCHS)
    # The average lags behind the weights: it was an average that was saved.
    assert not torch.equal(saved[-1]['backbone.2.weight'], states[-1]['backbone.2.weight'])


def test_a_part_of_a_module_and_never_thawed(tmp_path):
    states, _ = trained(tmp_path, hook=dict(modules='backbone.2', epochs=EPOCHS))
    for name, value in states[-1].items():
        assert torch.equal(value, states[0][name]) == name.startswith('backbone.2.'), name


def test_two_processes_stay_one_model_and_learn_as_one_process(tmp_path):
    """To float32's rounding; batch norm, whose statistics are each process's own, is left out."""
    processes.run_two(train_as_one_of_several, tmp_path)
    first, second = (torch.load(tmp_path / f'rank{rank}.pth', weights_only=True)
                     for rank in range(2))
    # Each process takes every other image: both together see what one sees in batches of 4.
    alone, _ = trained(tmp_path / 'alone', lambda: Toy(batch_norm=False))
    assert len(first) == len(second) == EPOCHS
    for epoch, (one, two, whole) in enumerate(zip(first, second, alone[1:]), 1):
        for name, value in one.items():
            assert torch.equal(value, two[name]), (epoch, name)
            torch.testing.assert_close(value, whole[name], msg=f'epoch {epoch}, {name}')
    assert torch.equal(first[FROZEN_EPOCHS - 1]['backbone.0.weight'],
                       alone[0]['backbone.0.weight'])
    assert not torch.equal(first[-1]['backbone.0.weight'], alone[0]['backbone.0.weight'])


@pytest.mark.parametrize('options, words', [
    (dict(hook=dict(modules=('backbone', 'bakcbone'))),
     "names 'bakcbone', which the model does not have: its modules are data_preprocessor, "
     'backbone, bbox_head'),
    (dict(hook=dict(modules=('backbone', 'bbox_head'))), 'leaves nothing to train'),
    (dict(train_cfg=dict(by_epoch=False, max_iters=3)), 'IterBasedTrainLoop, which has none'),
    (dict(hook=dict(epochs=0)), 'epochs = 0'),
])
def test_bad_options_end_in_an_error_message(tmp_path, options, words):
    with pytest.raises(UserError, match=words) as error:
        trained(tmp_path, **options)
    assert '\n' not in str(error.value)


def test_missing_module_is_found_in_the_second_phase_too(undisturbed, tmp_path):
    _, folder = undisturbed
    with pytest.raises(UserError, match="'neck'"):
        trained(tmp_path, hook=dict(modules='neck'), load_from=str(folder / 'epoch_3.pth'),
                resume=True)


def test_other_wrappers_are_refused():
    from mmengine.model import MMFullyShardedDataParallel
    from mmengine.runner import EpochBasedTrainLoop
    runner = SimpleNamespace(model=object.__new__(MMFullyShardedDataParallel),
                             train_loop=object.__new__(EpochBasedTrainLoop))
    with pytest.raises(UserError, match='wrapped in MMFullyShardedDataParallel'):
        FreezeHook().before_train(runner)
