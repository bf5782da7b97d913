"""The loss of angles in bins against a loop."""
import math

import pytest
import torch
from reference.camera import bins_slowly

from mmdet_centernet.models.losses import MultiBinLoss
from mmdet_centernet.ops.multi_bin import encode_angles


def smooth_l1_slowly(error, beta):
    error = abs(error)
    return 0.5 * error**2 / beta if error < beta else error - 0.5 * beta


@pytest.mark.parametrize('options', [{}, dict(loss_weight=0.3, beta=0.5)], ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_terms_equal_loop(options, dtype):
    """Both cross-entropies, and the residual's loss in each bin, whether the angle is inside or
    not: targets weigh those by 0."""
    torch.manual_seed(0)
    angles = torch.rand(40, dtype=torch.float64) * 2 * math.pi - math.pi
    pred = (torch.randn(40, 8) * 3).to(dtype)
    terms = MultiBinLoss(**options)(pred, encode_angles(angles).float())
    assert terms.shape == (40, 3) and terms.dtype == torch.float32
    weight, beta = options.get('loss_weight', 1), options.get('beta', 1)
    for n, angle in enumerate(angles.tolist()):
        entropy, residuals = 0.0, []
        for number, (inside, residual) in enumerate(bins_slowly(angle)):
            outside_logit, inside_logit, sine, cosine = pred[n, 4 * number:4 * number + 4].tolist()
            logit = inside_logit if inside else outside_logit
            entropy -= logit - math.log(math.exp(outside_logit) + math.exp(inside_logit))
            residuals.append(sum(smooth_l1_slowly(value - wanted, beta) for value, wanted in (
                (sine, math.sin(residual)), (cosine, math.cos(residual)))))
        expected = [weight * value for value in (entropy, *residuals)]
        assert terms[n].tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_channels_may_be_flat_or_by_bin():
    pred, target = torch.randn(6, 8), encode_angles(torch.linspace(-3, 3, 6))
    loss = MultiBinLoss()
    assert torch.equal(loss(pred, target), loss(pred.view(6, 2, 4), target))
    assert loss(pred[:0], target[:0]).shape == (0, 3)


def test_extreme_logits_stay_finite():
    pred = torch.tensor([[1e4, -1e4, 0, 0] * 2], requires_grad=True)
    loss = MultiBinLoss()(pred, encode_angles(torch.tensor([0.0]))).sum()
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(pred.grad).all()


def test_other_reductions_are_refused():
    with pytest.raises(ValueError, match="reduction_override = 'mean' must be 'none'"):
        MultiBinLoss()(torch.randn(2, 8), encode_angles(torch.zeros(2)), 'mean')
