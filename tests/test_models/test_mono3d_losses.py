"""Losses of depths, angles and dimensions from later papers, against loops."""
import math

import pytest
import torch
from reference.mono3d_plus import bin_loss_slowly, dimension_aware_slowly, laplace_slowly

from mmdet_centernet.models.losses import AngleBinLoss, DimensionAwareL1Loss, LaplaceLoss
from mmdet_centernet.models.losses.target_loss import cell_loss
from mmdet_centernet.models.properties import CellTarget
from mmdet_centernet.ops.angle_bins import encode_bins


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_angle_bins_equal_loop(dtype):
    torch.manual_seed(0)
    angles = torch.rand(30, dtype=torch.float64) * 2 * math.pi - math.pi
    pred = torch.randn(30, 24).to(dtype)
    terms = AngleBinLoss(loss_weight=0.3, residual_weight=2)(pred, encode_bins(angles, 12).float())
    assert terms.shape == (30, 2) and terms.dtype == torch.float32
    for found, channels, angle in zip(terms.tolist(), pred.tolist(), angles.tolist()):
        entropy, residual = bin_loss_slowly(channels, angle)
        assert found == pytest.approx([0.3 * entropy, 0.6 * residual], rel=1e-4, abs=1e-5)


def test_laplace_equals_loop():
    torch.manual_seed(0)
    pred, target = torch.randn(20, 2), torch.randn(20, 1)
    found = LaplaceLoss(loss_weight=0.5)(pred, target)
    assert found.shape == (20, 1)
    for value, (depth, log_spread), true in zip(found.tolist(), pred.tolist(), target.tolist()):
        assert value == pytest.approx([0.5 * laplace_slowly(depth, log_spread, *true)], abs=1e-5)


def test_laplace_is_least_where_the_spread_is_that_of_the_error():
    """The mean over the spreads is least at s = log(sqrt(2) |error|)."""
    errors = torch.tensor([[0.2], [1.0], [7.0]])
    steps = torch.linspace(-4, 4, 801)
    for error in errors:
        losses = LaplaceLoss()(torch.stack((error.expand(801), steps), dim=1), torch.zeros(801, 1))
        assert steps[losses.argmin()].item() == pytest.approx(
            math.log(math.sqrt(2) * error.item()), abs=0.011)


def target_of(values, weight):
    count = len(values)
    return CellTarget(torch.zeros(count).long(), torch.arange(count), values, weight,
                      weight.sum(), 1e-4)


@pytest.mark.parametrize('relative_to', ['target', 'prediction'])
def test_dimensions_equal_loop_and_have_the_mean_of_plain_l1(relative_to):
    """Whatever the objects are that do not count."""
    torch.manual_seed(0)
    true = 0.5 + 4 * torch.rand(9, 3, dtype=torch.float64)
    pred = (true + torch.randn(9, 3, dtype=torch.float64)).abs() + 0.1
    weight = torch.tensor([1.0, 1, 0, 1, 1, 0, 1, 1, 1], dtype=torch.float64)
    loss = DimensionAwareL1Loss(relative_to)
    found = loss(pred, true, weight)
    kept = weight > 0
    expected = dimension_aware_slowly(pred[kept].tolist(), true[kept].tolist(), relative_to)
    torch.testing.assert_close(found[kept], torch.tensor(expected).double(), rtol=1e-5, atol=1e-6)
    target = target_of(true, weight)
    plain = torch.nn.L1Loss(reduction='none')
    mean, expected = (cell_loss(each, pred, target, target.count) for each in (
        loss, lambda pred, values, reduction_override: plain(pred, values)))
    assert float(mean) == pytest.approx(float(expected), rel=1e-5)


def test_dimensions_gradient_is_inverse_to_the_size():
    """And does not go through the factor, nor through a prediction that is divided by."""
    true = torch.tensor([[1.5, 1.6, 4.0]])
    for relative_to in ('target', 'prediction'):
        pred = (true + 0.1).requires_grad_()
        DimensionAwareL1Loss(relative_to)(pred, true, torch.ones(1)).sum().backward()
        base = true if relative_to == 'target' else true + 0.1
        ratio = pred.grad[0] * base[0]
        torch.testing.assert_close(ratio, ratio[0].expand(3))


def test_dimensions_of_perfect_predictions_and_without_weights_are_nothing():
    true = torch.ones(2, 3)
    for pred, weight in ((true, torch.ones(2)), (true + 1, torch.zeros(2))):
        pred = pred.clone().requires_grad_()
        loss = (DimensionAwareL1Loss()(pred, true, weight) * weight[:, None]).sum()
        loss.backward()
        assert loss == 0 and torch.isfinite(pred.grad).all()


def test_other_choices_are_refused():
    with pytest.raises(ValueError, match="relative_to = 'mean' must be one of"):
        DimensionAwareL1Loss('mean')
    pred, target = torch.ones(1, 2), torch.ones(1, 1)
    for loss in (LaplaceLoss(), AngleBinLoss()):
        with pytest.raises(ValueError, match="reduction_override = 'mean' must be 'none'"):
            loss(pred, target, 'mean')
    with pytest.raises(ValueError, match="reduction_override = 'sum' must be 'none'"):
        DimensionAwareL1Loss()(pred, pred, torch.ones(1), 'sum')
