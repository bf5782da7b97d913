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


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('listed', [False, True])
def test_weights_and_listed_positives_equal_the_formula(listed, memory_format):
    """Of terms, of classes and of positives, some of which are listed twice or with weight 0."""
    shape = (2, 3, 9, 13)
    target = target_of(shape)
    class_weight = torch.tensor([0.5, 2.0, 0.0])
    generator = torch.Generator().manual_seed(2)
    places = torch.randint(0, 2 * 3 * 9 * 13, (7,), generator=generator).repeat(2)
    weight = torch.randint(0, 3, (14,), generator=generator).float()
    logits = torch.randn(shape).contiguous(memory_format=memory_format).requires_grad_()
    loss = gaussian_focal_loss(
        logits, target, min_probability=0.2, pos_weight=0.25, neg_weight=0.75,
        class_weight=class_weight, positives=(places, weight) if listed else None)
    grad, = torch.autograd.grad(loss, logits)
    exact = logits.detach().double().requires_grad_()
    y, p = target.to_dense().double(), exact.sigmoid().clamp(0.2, 0.8)
    count = (y == 1).double()
    if listed:
        count = torch.zeros_like(y).view(-1).index_add_(0, places, weight.double()).view(shape)
    terms = -(0.25 * count * (1 - p) ** 2 * p.log()
              + 0.75 * (1 - y) ** 4 * p**2 * (1 - p).log())
    expected = (terms * class_weight.double()[:, None, None]).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(
        grad.double(), torch.autograd.grad(expected, exact)[0], rtol=1e-4, atol=1e-6)


def test_module_passes_weights_on_and_keeps_them_out_of_checkpoints():
    target = target_of((1, 2, 6, 7))
    logits = torch.randn(1, 2, 6, 7)
    module = GaussianFocalLoss(pos_weight=0.25, neg_weight=0.75, class_weight=[1.0, 3.0])
    expected = gaussian_focal_loss(logits, target, pos_weight=0.25, neg_weight=0.75,
                                   class_weight=torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(module(logits, target, avg_factor=1.0), expected)
    assert not module.state_dict()


def test_class_weights_must_fit_the_classes():
    module = GaussianFocalLoss(class_weight=[1.0, 3.0, 1.0])
    with pytest.raises(ValueError, match='class_weight has 3 entries, but the heatmap 2 classes'):
        module(torch.zeros(1, 2, 6, 7), target_of((1, 2, 6, 7)), avg_factor=1.0)


@pytest.mark.parametrize('options', [dict(pos_weight=-1.0), dict(class_weight=[1.0, -0.5])])
def test_negative_weights_are_refused(options):
    with pytest.raises(ValueError, match='must not be negative'):
        GaussianFocalLoss(**options)


def test_federated_loss_trains_the_classes_of_the_batch_and_some_others():
    """Others in proportion to the square root of their objects; masked classes have no loss."""
    shape = (2, 6, 5, 4)
    target = draw_sparse_heatmap(
        torch.tensor([[1, 1], [2, 3]]), torch.tensor([1, 0]), torch.tensor([2, 6 + 2]), shape)
    module = GaussianFocalLoss(federated=dict(num_classes=2))
    module.use_class_counts(torch.tensor([0, 1, 5, 4, 0, 9]))
    drawn = torch.zeros(6)
    torch.manual_seed(0)
    for _ in range(600):
        logits = torch.zeros(shape, requires_grad=True)
        module(logits, target, avg_factor=1.0).backward()
        trained = logits.grad.abs().sum((0, 2, 3)) > 0
        assert trained[2] and trained.sum() == 2
        drawn += trained.float()
    others = drawn[[0, 1, 3, 4, 5]] / 600
    torch.testing.assert_close(
        others, torch.tensor([0, 1 / 6, 2 / 6, 0, 3 / 6]), atol=0.07, rtol=0)


def test_federated_loss_keeps_all_classes_of_a_batch():
    shape = (1, 3, 4, 4)
    target = draw_sparse_heatmap(
        torch.zeros(3, 2).long(), torch.zeros(3).long(), torch.arange(3), shape)
    module = GaussianFocalLoss(federated=dict(num_classes=1), class_weight=[1.0, 2.0, 0.5])
    module.use_class_counts(torch.ones(3))
    logits = torch.randn(shape)
    expected = gaussian_focal_loss(logits, target, class_weight=torch.tensor([1.0, 2.0, 0.5]))
    torch.testing.assert_close(module(logits, target, avg_factor=1.0), expected)


@pytest.mark.parametrize('options', [dict(class_weight='balanced'), dict(federated={})])
def test_missing_counts_are_one_message(options):
    with pytest.raises(ValueError, match='ClassCountsHook'):
        GaussianFocalLoss(**options)(torch.zeros(1, 2, 6, 7), target_of((1, 2, 6, 7)), 1.0)


@pytest.mark.parametrize(('options', 'words'), [
    (dict(class_weight='equal'), "class_weight = 'equal'"),
    (dict(federated=dict(classes=3)), 'federated has no option classes')])
def test_unknown_choices_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        GaussianFocalLoss(**options)
