"""Deformable convolution from standard operators, with bilinear interpolation by grid_sample."""
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdet_centernet.ops.deform_conv.taps import exact_dtype, tap_positions


def deform_conv2d_by_grid_sample(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Compute :func:`modulated_deform_conv2d`; see there for the arguments."""
    batch, channels, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    out_h, out_w = offset.shape[2:]
    dtype = exact_dtype(x)

    # [B * D, K, out_h, out_w]
    shift = offset.to(dtype).reshape(batch * deform_groups, taps, 2, out_h, out_w)
    starts = tap_positions(
        (out_h, out_w), (kernel_h, kernel_w), stride, padding, dilation, x)
    y, x_pos = (shift[:, :, axis] + starts[axis] for axis in (0, 1))
    # grid_sample's [-1, 1] spans the outer edges of the outer cells (align_corners=False),
    # which is also defined for a single row or column.
    grid = torch.stack(((2 * x_pos + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    scale = mask.to(dtype)

    if groups == deform_groups == 1 and out_channels < channels:
        # The product of each tap is a map of its own: [B * K, O, H, W].
        kernels = weight.to(x.dtype).permute(2, 3, 0, 1).reshape(
            taps * out_channels, channels, 1, 1)
        products = F.conv2d(x, kernels).to(dtype)
        sampled = F.grid_sample(
            products.reshape(batch * taps, out_channels, height, width),
            grid.reshape(batch * taps, out_h, out_w, 2),
            mode='bilinear', padding_mode='zeros', align_corners=False)
        sampled = sampled * scale.reshape(batch * taps, 1, out_h, out_w)
        # One by one, because OpenVINO fuses additions; sums along a dimension are slow there in
        # bfloat16.
        out = reduce(
            torch.add, sampled.view(batch, taps, out_channels, out_h, out_w).unbind(1))
        out = out.to(x.dtype)
    else:
        # The product does not have fewer channels, or there are several groups: im2col first.
        columns = F.grid_sample(
            x.to(dtype).reshape(-1, channels // deform_groups, height, width),
            grid.view(batch * deform_groups, taps * out_h, out_w, 2),
            mode='bilinear', padding_mode='zeros', align_corners=False,
        ).view(batch, deform_groups, channels // deform_groups, taps, out_h, out_w)
        columns = columns * scale.reshape(batch, deform_groups, 1, taps, out_h, out_w)
        columns = columns.view(
            batch, groups, channels // groups * taps, out_h * out_w).to(x.dtype)
        kernels = weight.to(x.dtype).reshape(groups, out_channels // groups, -1)
        out = torch.matmul(kernels, columns).view(batch, out_channels, out_h, out_w)
    return out if bias is None else out + bias.to(x.dtype).view(1, -1, 1, 1)
