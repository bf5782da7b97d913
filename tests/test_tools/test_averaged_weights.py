"""Averaged weights (EMAHook) with and without mixed precision: training, resuming, testing."""
import pickle

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.runner import EpochBasedTrainLoop
from tiny_project import write_config

EMA = """
custom_hooks = [dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.05,
                     gamma=10, update_buffers=True)]
"""


def predictions(path):
    return [each['pred_instances'] for each in pickle.loads(path.read_bytes())]


def is_same(first, second):
    """Return True if two lists of predictions are equal."""
    return all(torch.equal(a[name], b[name]) for a, b in zip(first, second, strict=True)
               for name in ('bboxes', 'scores', 'labels'))


@pytest.mark.parametrize('options', [(), ('--amp', )], ids=['float32', 'amp'])
def test_average_is_tested_and_learned_weights_are_resumed(
        tool, tiny_data, tmp_path, monkeypatch, options):
    config = write_config(tmp_path, tiny_data, f'averaged{len(options)}.py', extra=EMA)
    plain = write_config(tmp_path, tiny_data, f'plain{len(options)}.py')
    work = tmp_path / 'work'
    assert tool('train.py', config, '--work-dir', work, '--seed', 3, '--device', 'cpu',
                *options) == 0
    saved = torch.load(work / 'epoch_2.pth', weights_only=True)
    average = saved['state_dict']
    learned = {name.removeprefix('module.'): value
              for name, value in saved['ema_state_dict'].items() if name != 'steps'}
    assert average.keys() == learned.keys()
    assert not torch.equal(average['backbone.conv1.weight'], learned['backbone.conv1.weight'])
    assert all(value.isfinite().all() for value in average.values())
    torch.save(dict(state_dict=learned, meta={}), tmp_path / 'learned.pth')

    def tested(config, checkpoint, name):
        assert tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'test', '--out',
                    tmp_path / f'{name}.pkl') == 0
        return predictions(tmp_path / f'{name}.pkl')

    with_hook = tested(config, work / 'epoch_2.pth', 'with_hook')
    assert is_same(with_hook, tested(plain, work / 'epoch_2.pth', 'without_hook'))
    assert not is_same(with_hook, tested(plain, tmp_path / 'learned.pth', 'learned'))

    # Resumed, the training goes on from what was learned, and the average from the average.
    seen = []
    monkeypatch.setattr(EpochBasedTrainLoop, 'run', lambda loop: seen.append(loop.runner))
    assert tool('train.py', config, '--work-dir', tmp_path / 'resumed', '--resume',
                work / 'epoch_2.pth', *options) == 0
    runner, = seen
    hook, = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
    for model, expected in ((runner.model, learned), (hook.ema_model.module, average)):
        for name, value in model.state_dict().items():
            assert torch.equal(value.cpu(), expected[name]), name
    assert int(hook.ema_model.steps) == 6
