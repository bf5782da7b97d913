"""The focal loss on logits against the formula in float64."""
import pytest
import torch
from reference.heatmap import focal_slowly

from mmdet_centernet.models.losses import GaussianFocalLoss, gaussian_focal_loss
from mmdet_centernet.ops.heatmap import draw_sparse_heatmap


def target_of(shape, count=6, seed=0):
    torch.manual_seed(seed)
    batch, classes, height, width = shape
    centers = torch.stack(
        (torch.randint(0, width, (count,)), torch.randint(0, height, (count,))), dim=1)
    return draw_sparse_heatmap(
        centers, torch.randint(0, 4, (count,)), torch.randint(0, batch * classes, (count,)),
        shape)


@pytest.mark.parametrize('exponents', [(2.0, 4.0), (1.5, 3.0)])
@pytest.mark.parametrize(('shape', 'count'), [((2, 3, 9, 13), 6), ((1, 1, 1, 1), 1),
                                              ((2, 2, 5, 4), 0), ((3, 8, 64, 96), 40)])
def test_value_and_gradient_equal_the_formula(shape, count, exponents):
    target = target_of(shape, count)
    torch.manual_seed(1)
    logits = (torch.randn(shape) * 3 - 2).requires_grad_()
    loss = gaussian_focal_loss(logits, target, *exponents)
    grad, = torch.autograd.grad(loss, logits)
    exact = logits.detach().double().requires_grad_()
    expected = focal_slowly(exact, target.to_dense(), *exponents)
    expected_grad, = torch.autograd.grad(expected, exact)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(grad.double(), expected_grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('shape', [(2, 3, 9, 13), (3, 8, 64, 96)])
def test_channels_last_maps_give_the_same(shape):
    """In their own memory format, gradients too."""
    target = target_of(shape)
    logits = torch.randn(shape).requires_grad_()
    other_format = logits.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    loss, other = (gaussian_focal_loss(x, target) for x in (logits, other_format))
    torch.testing.assert_close(other, loss)
    grad, other = torch.autograd.grad(loss, logits)[0], torch.autograd.grad(
        other, other_format)[0]
    torch.testing.assert_close(other, grad)
    assert other.stride() == other_format.stride()


def test_overlapping_gaussians_count_once():
    """Two objects on one cell, and Gaussians that overlap."""
    shape = (1, 1, 6, 8)
    target = draw_sparse_heatmap(
        torch.tensor([[3, 2], [3, 2], [4, 2]]), torch.tensor([2, 1, 3]), torch.zeros(3).long(),
        shape)
    logits = torch.randn(shape)
    expected = focal_slowly(logits, target.to_dense())
    assert gaussian_focal_loss(logits, target).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('level', [-60.0, 60.0])
def test_extreme_logits_stay_finite(dtype, level):
    target = target_of((1, 2, 6, 7))
    logits = torch.full((1, 2, 6, 7), level, dtype=dtype, requires_grad=True)
    loss = gaussian_focal_loss(logits, target)
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss)
    assert logits.grad.dtype == dtype and torch.isfinite(logits.grad).all()
    exact = logits.detach().double()
    y, log = target.to_dense(), torch.nn.functional.logsigmoid
    stable = -torch.where(
        y == 1, (1 - exact.sigmoid()) ** 2 * log(exact),
        (1 - y) ** 4 * exact.sigmoid() ** 2 * log(-exact)).sum()
    assert loss.item() == pytest.approx(stable.item(), rel=1e-3, abs=1e-6)


def test_memory_format_does_not_matter():
    target = target_of((2, 3, 8, 6))
    logits = torch.randn(2, 3, 8, 6)
    results = []
    for given in (logits, logits.to(memory_format=torch.channels_last)):
        given = given.clone().requires_grad_()
        loss = gaussian_focal_loss(given, target)
        loss.backward()
        results.append((loss.detach(), given.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_module_weights_and_averages():
    target = target_of((1, 2, 6, 7))
    logits = torch.randn(1, 2, 6, 7)
    loss = GaussianFocalLoss(loss_weight=0.5)(logits, target, avg_factor=4.0)
    torch.testing.assert_close(loss, gaussian_focal_loss(logits, target) / 8)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r'\(1, 2, 6, 8\).*\(1, 2, 6, 7\)'):
        gaussian_focal_loss(torch.zeros(1, 2, 6, 8), target_of((1, 2, 6, 7)))
