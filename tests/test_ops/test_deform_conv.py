"""Deformable convolution against loops in float64, and against finite differences."""
import itertools

import numpy as np
import pytest
import torch
from torch.profiler import profile

from mmdet_centernet.ops.deform_conv import (
    deform_conv2d_op,
    embedding_bag,
    modulated_deform_conv2d,
)
from mmdet_centernet.ops.deform_conv.grid_sample import deform_conv2d_by_grid_sample


def bilinear(plane, y, x):
    """Return the value of a plane at (y, x), zero outside."""
    height, width = plane.shape
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    value = 0.0
    for yy, xx in itertools.product((y0, y0 + 1), (x0, x0 + 1)):
        if 0 <= yy < height and 0 <= xx < width:
            value += plane[yy, xx] * (1 - abs(y - yy)) * (1 - abs(x - xx))
    return value


def deform_conv_slowly(
    x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups
):
    batch, channels = x.shape[:2]
    outs, per_group, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[-2:]
    taps = kernel_h * kernel_w
    result = np.zeros((batch, outs, out_h, out_w))
    for b, o, i, j in itertools.product(range(batch), range(outs), range(out_h), range(out_w)):
        total = bias[o] if bias is not None else 0.0
        for c_in_group, k in itertools.product(range(per_group), range(taps)):
            c = o // (outs // groups) * per_group + c_in_group
            d = c // (channels // deform_groups)
            ky, kx = divmod(k, kernel_w)
            dy, dx = offset[b, 2 * (d * taps + k):2 * (d * taps + k) + 2, i, j]
            y = i * stride[0] - padding[0] + ky * dilation[0] + dy
            xx = j * stride[1] - padding[1] + kx * dilation[1] + dx
            value = bilinear(x[b, c], y, xx) * mask[b, d * taps + k, i, j]
            total += weight[o, c_in_group, ky, kx] * value
        result[b, o, i, j] = total
    return result


CASES = {
    'plain': dict(),
    'H and W, stride, dilation, padding differ': dict(
        size=(6, 9), kernel=(3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 1)),
    'groups': dict(channels=4, outs=6, groups=2),
    'deformable groups': dict(channels=6, deform_groups=3),
    'groups across deformable groups': dict(channels=6, outs=4, groups=2, deform_groups=3),
    'more outputs than inputs': dict(channels=2, outs=5),
    'one tap': dict(kernel=(1, 1), padding=(0, 0)),
    'one row': dict(size=(1, 7)),
    'one column': dict(size=(7, 1)),
    'far outside': dict(spread=1e3),
    'one cell': dict(size=(1, 1), batch=1),
    'without bias': dict(bias=False),
    'no image': dict(batch=0),
}


def make(size=(5, 7), kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), batch=2,
         channels=4, outs=3, groups=1, deform_groups=1, bias=True, spread=1.5):
    torch.manual_seed(3)
    out = [
        (size[a] + 2 * padding[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1
        for a in (0, 1)]
    taps = kernel[0] * kernel[1]
    double = dict(dtype=torch.float64)
    tensors = [
        torch.randn(batch, channels, *size, **double),
        torch.randn(batch, 2 * deform_groups * taps, *out, **double) * spread,
        torch.rand(batch, deform_groups * taps, *out, **double),
        torch.randn(outs, channels // groups, *kernel, **double),
        torch.randn(outs, **double) if bias else None,
    ]
    return tensors, (stride, padding, dilation, groups, deform_groups)


@pytest.mark.parametrize('case', CASES)
def test_equals_loop(case, monkeypatch):
    """However the work is cut, and from standard operators."""
    tensors, settings = make(**CASES[case])
    expected = deform_conv_slowly(*(t if t is None else t.numpy() for t in tensors), *settings)
    got = {'standard operators': deform_conv2d_by_grid_sample(*tensors, *settings),
           'whole': modulated_deform_conv2d(*tensors, *settings)}
    for workspace in (3000, 1):  # some taps, each tap
        monkeypatch.setattr(embedding_bag, 'WORKSPACE', workspace)
        got[workspace] = modulated_deform_conv2d(*tensors, *settings)
    for name, value in got.items():
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-9, atol=1e-9, err_msg=name)


def gradients(function, tensors, settings):
    inputs = [t.clone().requires_grad_() for t in tensors if t is not None]
    out = function(*inputs, *[None] * (5 - len(inputs)), *settings)
    torch.manual_seed(1)
    return torch.autograd.grad(out, inputs, torch.randn(out.shape, dtype=out.dtype))


@pytest.mark.parametrize('case', CASES)
def test_gradients_equal_those_of_standard_operators(case, monkeypatch):
    """Of the whole at once, and of each tap."""
    tensors, settings = make(**CASES[case])
    expected = gradients(deform_conv2d_by_grid_sample, tensors, settings)
    for workspace in (embedding_bag.WORKSPACE, 1):
        monkeypatch.setattr(embedding_bag, 'WORKSPACE', workspace)
        for got, want in zip(
                gradients(modulated_deform_conv2d, tensors, settings), expected, strict=True):
            torch.testing.assert_close(got, want)


def test_offsets_of_zero_have_gradients():
    """Layers start there, where bilinear interpolation has kinks: the slope towards the right
    counts, as in the compiled kernels."""
    (x, offset, *others), settings = make()
    offset = torch.zeros_like(offset).requires_grad_()
    step = torch.rand_like(offset) * 1e-6
    out = modulated_deform_conv2d(x, offset, *others, *settings)
    grad = torch.randn_like(out)
    by_offset, = torch.autograd.grad(out, offset, grad)
    change = modulated_deform_conv2d(x, offset + step, *others, *settings) - out
    torch.testing.assert_close((by_offset * step).sum(), (change * grad).sum(), rtol=1e-4, atol=0)


def test_without_offsets_it_is_a_convolution():
    (x, offset, mask, weight, bias), settings = make()
    got = modulated_deform_conv2d(
        x, torch.zeros_like(offset), torch.ones_like(mask), weight, bias, *settings)
    expected = torch.nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(got, expected)


def test_gradients():
    tensors, settings = make(size=(3, 4), channels=2, outs=2, batch=1, spread=0.37)
    inputs = [t.requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(lambda *t: modulated_deform_conv2d(*t, *settings), inputs)


def peak_bytes(function):
    """Return the most that is allocated at a time while a function runs, and its result."""
    with profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as run:
        result = function()
    events = [e for e in run.profiler.kineto_results.events() if e.name() == '[memory]']
    sizes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(sizes).max()), result


@pytest.mark.parametrize('settings', [
    dict(size=(96, 80), channels=32, outs=16),
    dict(size=(96, 80), channels=16, outs=8, stride=(2, 2)),
    dict(size=(24, 40), channels=8, outs=8, batch=8, groups=2, deform_groups=4),
], ids=['cut taps', 'stride', 'groups'])
def test_memory_is_bounded(settings, monkeypatch):
    workspace = 2 << 20
    monkeypatch.setattr(embedding_bag, 'WORKSPACE', workspace)
    tensors, settings = make(**settings)
    layout = torch.channels_last
    inputs = [
        (t.contiguous(memory_format=layout) if t.dim() == 4 else t).float().requires_grad_()
        for t in tensors]
    peak, out = peak_bytes(lambda: modulated_deform_conv2d(*inputs, *settings))
    assert peak < out.nbytes + 1.1 * workspace
    grad = torch.ones_like(out)
    peak, grads = peak_bytes(lambda: torch.autograd.grad(out, inputs, grad))
    assert peak < sum(g.nbytes for g in grads) + 1.1 * workspace


def test_operator_is_well_formed():
    """For compilers: its shapes and strides are predicted, its gradient registered."""
    (x, offset, mask, weight, bias), settings = make(size=(5, 1), channels=8, outs=6)
    inputs = [t.requires_grad_() for t in (x, offset, mask, weight, bias)]
    torch.library.opcheck(
        deform_conv2d_op, (*inputs, *map(list, settings[:3]), *settings[3:]))


def test_compiles():
    tensors, settings = make()
    compiled = torch.compile(modulated_deform_conv2d, fullgraph=True, backend='aot_eager')
    expected = gradients(modulated_deform_conv2d, tensors, settings)
    for got, want in zip(gradients(compiled, tensors, settings), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_autocast_computes_in_its_type():
    tensors, settings = make(channels=8)
    inputs = [t.float().requires_grad_() for t in tensors]
    exact = modulated_deform_conv2d(*tensors, *settings)
    with torch.autocast('cpu', torch.bfloat16):
        got = modulated_deform_conv2d(*inputs, *settings)
    assert got.dtype == torch.bfloat16
    assert (got.double() - exact).abs().mean() < 0.02 * exact.abs().mean()
    by_input = torch.autograd.grad(got.float().square().sum(), inputs)
    exact_inputs = [t.clone().requires_grad_() for t in tensors]
    expected = torch.autograd.grad(
        modulated_deform_conv2d(*exact_inputs, *settings).square().sum(), exact_inputs)
    for found, want in zip(by_input, expected, strict=True):
        assert found.dtype == torch.float32
        assert (found - want).abs().mean() < 0.03 * want.abs().mean()


def test_offsets_that_are_not_numbers_do_not_crash():
    (x, offset, mask, weight, bias), settings = make()
    offset[0, 0, 2, 3] = torch.nan
    offset[0, 1, 1, 1] = torch.inf
    out = modulated_deform_conv2d(x, offset, mask, weight, bias, *settings)
    assert out[0, :, 2, 3].isnan().all()
    assert out.isnan().sum() == out.shape[1]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_keeps_positions(dtype):
    """On a map wider than 256 cells, where half precision cannot tell cells apart."""
    (x, offset, mask, weight, bias), settings = make(size=(2, 700), channels=2)
    exact = modulated_deform_conv2d(x, offset, mask, weight, bias, *settings)
    got = modulated_deform_conv2d(
        x.to(dtype), offset.to(dtype), mask.to(dtype), weight.to(dtype), bias.to(dtype),
        *settings)
    assert got.dtype == dtype
    assert (got.double() - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_wrong_shapes_are_named():
    (x, offset, mask, weight, bias), settings = make()
    with pytest.raises(ValueError, match='offset has 16 channels.* needs 18'):
        modulated_deform_conv2d(x, offset[:, :16], mask, weight, bias, *settings)
    with pytest.raises(ValueError, match='mask has 8 channels.* needs 9'):
        modulated_deform_conv2d(x, offset, mask[:, :8], weight, bias, *settings)
    with pytest.raises(ValueError, match='4 input channels are not divisible'):
        modulated_deform_conv2d(x, offset, mask, weight, bias, groups=3)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_layout_is_that_of_the_input(layout):
    """Code around it may view the result, as that of a convolution."""
    x = torch.randn(2, 4, 5, 6).contiguous(memory_format=layout)
    out = modulated_deform_conv2d(
        x, torch.zeros(2, 18, 5, 6), torch.ones(2, 9, 5, 6), torch.randn(3, 4, 3, 3),
        padding=(1, 1))
    assert out.is_contiguous(memory_format=layout)
