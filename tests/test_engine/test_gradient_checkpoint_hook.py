"""Gradient checkpointing changes memory, and nothing else."""
import copy
from types import SimpleNamespace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from mmdet_centernet.engine.hooks import GradientCheckpointHook
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.backbones import EfficientNetLite


@pytest.fixture(scope='module')
def backbone():
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.backbone = EfficientNetLite(out_strides=(4, 8), frozen_stages=1)
    return model


def step(model):
    """Train a step; return the loss, the gradients, the buffers and the elements kept for them."""
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    image = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    model.train()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(each.square().mean() for each in model.backbone(image))
    count = sum(kept)
    loss.backward()
    return (loss.detach(), {name: each.grad for name, each in model.named_parameters()},
            {name: each.clone() for name, each in model.named_buffers()}, count)


@pytest.mark.parametrize('modules', ['backbone', ('backbone._blocks', )])
def test_losses_gradients_and_statistics_are_the_same(backbone, modules):
    plain, checkpointed = copy.deepcopy(backbone), copy.deepcopy(backbone)
    names = list(plain.state_dict())
    GradientCheckpointHook(modules).before_train(SimpleNamespace(model=checkpointed))
    expected, result = step(plain), step(checkpointed)
    assert torch.equal(expected[0], result[0])
    for first, second in zip(expected[1:3], result[1:3]):
        assert first.keys() == second.keys()
        for name, value in first.items():
            assert (value is None) == (second[name] is None), name
            assert value is None or torch.equal(value, second[name]), name
    assert result[3] < expected[3] / 3
    assert list(checkpointed.state_dict()) == names


def test_predictions_do_not_change(backbone):
    checkpointed = copy.deepcopy(backbone).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = checkpointed.backbone(image)
        GradientCheckpointHook('backbone').before_train(SimpleNamespace(model=checkpointed))
        for first, second in zip(expected, checkpointed.backbone(image)):
            assert torch.equal(first, second)


def test_module_that_does_not_exist(backbone):
    with pytest.raises(UserError, match="names 'neck.convs', which the model does not have: its "
                                        'modules are backbone'):
        GradientCheckpointHook('neck.convs').before_train(SimpleNamespace(model=backbone))
