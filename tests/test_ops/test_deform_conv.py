"""Deformable convolution against loops in float64, and against finite differences."""
import itertools

import numpy as np
import pytest
import torch

from mmdet_centernet.ops.deform_conv import modulated_deform_conv2d


def bilinear(plane, y, x):
    """Value of a plane at (y, x), zero outside."""
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
    'one row': dict(size=(1, 7)),
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
def test_equals_loop(case):
    tensors, settings = make(**CASES[case])
    expected = deform_conv_slowly(*(t if t is None else t.numpy() for t in tensors), *settings)
    got = modulated_deform_conv2d(*tensors, *settings)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-9)


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


@pytest.mark.parametrize('threads', [1, 2])
def test_cutting_the_work_for_threads_changes_nothing(threads):
    tensors, settings = make(batch=1, channels=6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        got = modulated_deform_conv2d(*tensors, *settings)
    finally:
        torch.set_num_threads(before)
    expected = deform_conv_slowly(*(t.numpy() for t in tensors), *settings)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9, atol=1e-9)


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
    with pytest.raises(ValueError, match='4 input channels do not divide'):
        modulated_deform_conv2d(x, offset, mask, weight, bias, groups=3)
