"""configs/_base_/schedules/plus.py: averaged weights, clipping and the learning rate."""
import math
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import DumpResults, Evaluator
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader

import mmdet_centernet.models  # noqa: F401  (registers ExpMomentumEMA)

PLUS = Path(__file__).parents[2] / 'configs/_base_/schedules/plus.py'


class Line(BaseModel):
    """Model of two weights with known gradients, which records what is evaluated."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        self.register_buffer('count', torch.zeros(()))
        self.evaluated = []
        self.learned = []

    def forward(self, inputs, data_samples=None, mode='loss'):
        if mode != 'loss':
            self.evaluated.append(self.weight.detach().clone())
            return [BaseDataElement()]
        self.learned.append(self.weight.detach().clone())
        return dict(loss=(self.weight * torch.tensor([1.0, 100.0])).square().sum() * inputs.mean())


def run(folder, epochs, resume=None):
    """Train on five samples per epoch with the schedule's optimizer and average, but a faster one.

    Returns:
        Runner: After training.
    """
    config = Config.fromfile(PLUS)
    data = [dict(inputs=torch.tensor([float(number)])) for number in range(1, 6)]
    train, val = (DataLoader(data, sampler=DefaultSampler(data, shuffle=False)) for _ in range(2))
    runner = Runner(
        Line(), str(folder), experiment_name=f'{folder.name}_{epochs}_{resume is None}',
        train_dataloader=train, val_dataloader=val, val_cfg=dict(),
        val_evaluator=Evaluator([DumpResults(str(folder / 'results.pkl'))]),
        train_cfg=dict(by_epoch=True, max_epochs=epochs), optim_wrapper=config.optim_wrapper,
        custom_hooks=[dict(config.custom_hooks[0], momentum=0.1, gamma=5)], log_level='ERROR',
        load_from=resume, resume=resume is not None, default_scope='mmdet')
    runner.train()
    return runner


def slow_average(weights, momentum=0.1, gamma=5):
    """Average weights one after another as ExpMomentumEMA says; the first is taken as it is."""
    average = weights[0].clone()
    for step, weight in enumerate(weights[1:], start=1):
        rate = (1 - momentum) * math.exp(-(1 + step) / gamma) + momentum
        average = (1 - rate) * average + rate * weight
    return average


def test_the_average_is_evaluated_saved_and_resumed(tmp_path):
    whole = run(tmp_path / 'whole', 3).model
    assert len(whole.learned) == 15 and len(whole.evaluated) == 15
    saved = [torch.load(tmp_path / f'whole/epoch_{epoch}.pth', weights_only=True)
             for epoch in (1, 2, 3)]
    for epoch, checkpoint in enumerate(saved):
        # The weights after each step of the first epochs; the last of them is in the checkpoint.
        learned = [*whole.learned[1:5 * epoch + 5], checkpoint['ema_state_dict']['module.weight']]
        expected = slow_average(learned)
        torch.testing.assert_close(checkpoint['state_dict']['weight'], expected)
        for weight in whole.evaluated[5 * epoch:5 * epoch + 5]:
            torch.testing.assert_close(weight, expected)
    resumed = run(tmp_path / 'resumed', 3, str(tmp_path / 'whole/epoch_2.pth')).model
    torch.testing.assert_close(torch.stack(resumed.learned), torch.stack(whole.learned[10:]))
    torch.testing.assert_close(torch.stack(resumed.evaluated), torch.stack(whole.evaluated[10:]))


@pytest.mark.parametrize('clip_grad, expected', [
    (dict(type='value', clip_value=1, _delete_=True), [1.0, 1.0]),
    (dict(max_norm=1), [0.6, 0.8]), (None, [3.0, 4.0])])
def test_gradients_are_clipped_by_element_or_norm(clip_grad, expected):
    """A gradient of (3, 4): by element each is at most 1; by norm the direction stays."""
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    config = Config.fromfile(PLUS)
    if clip_grad:
        config.merge_from_dict({'optim_wrapper.clip_grad': clip_grad})
    config.optim_wrapper.optimizer = dict(type='SGD', lr=1.0)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    wrapper.update_params(-model(torch.tensor([3.0, 4.0])).sum())
    torch.testing.assert_close(model.weight.detach()[0], torch.tensor(expected))
