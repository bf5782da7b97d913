"""Gradient checkpointing and freezing of the package's own backbones."""
import copy

import pytest
import torch

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.backbones import DLA, EfficientNetLite


def learn(model, dtype=torch.float32):
    """Compute one training step's gradients."""
    x = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    model.train()
    sum(y.square().mean() for y in model(x)).backward()


@pytest.mark.parametrize('backbone', [DLA, EfficientNetLite])
def test_gradient_checkpointing_changes_nothing(backbone):
    """Gradients are equal, and batch norm statistics are updated once."""
    plain, saving = backbone().double(), backbone(with_cp=True).double()
    saving.load_state_dict(plain.state_dict())
    for model in (plain, saving):
        learn(model, torch.float64)
    for (name, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-6, atol=1e-12, msg=name)
    other = saving.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize(('frozen_stages', 'names'), [
    (0, {'base_layer', 'level0', 'level1'}),
    (2, {'base_layer', 'level0', 'level1', 'level2', 'level3'})])
def test_frozen_stages_of_dla(frozen_stages, names):
    """They get no gradient and keep their statistics; all others are trained."""
    model = DLA(frozen_stages=frozen_stages)
    before = copy.deepcopy(model.state_dict())
    learn(model)
    for name, p in model.named_parameters():
        assert (p.grad is None) == (name.split('.')[0] in names), name
    for name, value in model.state_dict().items():
        if name.endswith('running_mean'):
            assert torch.equal(value, before[name]) == (name.split('.')[0] in names), name


def test_norm_eval_of_dla():
    model = DLA(norm_eval=True)
    before = copy.deepcopy(model.state_dict())
    learn(model)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_frozen_stages_that_dla_does_not_have():
    with pytest.raises(UserError, match='frozen_stages = 5'):
        DLA(frozen_stages=5)
