"""Deformable convolution on a CPU, with bilinear interpolation by embedding_bag.

The products of the input with every kernel tap form a table with a row for each cell and tap. An
output cell is a weighted sum of the 4 corners around each tap's position, that is, of 4 * taps
rows of the table: one call of ``embedding_bag`` gathers them for all output cells. To bound the
memory, the work is divided into tiles.
"""
import warnings
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mmdet_centernet.ops.deform_conv.taps import exact_dtype, tap_positions

#: Bytes that a convolution may allocate in addition to its inputs, outputs and their gradients.
#: If one kernel tap of one image needs more, it is a tile of its own.
WORKSPACE = 1 << 24


class _Tile(NamedTuple):
    """Some taps of one deformable group, inside one group of the convolution."""

    inputs: slice
    outputs: slice
    weight_inputs: slice
    deform_group: int
    taps: slice


class _Tiling(NamedTuple):
    """Tiles of a convolution, and the ranges [first, last) of images to process each for."""

    tiles: list[_Tile]
    images: list[tuple[int, int]]


def _make_tiling(
    x: Tensor, offset: Tensor, weight: Tensor, groups: int, deform_groups: int, backward: bool
) -> _Tiling:
    """Divide the work so that the memory of a tile fits into WORKSPACE."""
    batch, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    ins, outs = channels // groups, weight.shape[0] // groups
    deform_ins = channels // deform_groups
    size = exact_dtype(x).itemsize
    cells, out_cells = height * width, offset.shape[2] * offset.shape[3]
    # The table of products, and the indices and weights of the corners with the tensors that
    # they are computed from; backward also their order and gradients.
    tap_bytes = size * (outs * cells + (48 if backward else 24) * out_cells)
    # The tile's contribution to the output, or to the gradient of the input.
    image_bytes = size * (ins * cells if backward else outs * out_cells)
    images = min(max(WORKSPACE // max(taps * tap_bytes + image_bytes, 1), 1), max(batch, 1))
    some_taps = taps
    if images == 1:
        some_taps = min(max((WORKSPACE - image_bytes) // max(tap_bytes, 1), 1), taps)

    tiles = []
    ends = sorted({*range(0, channels + 1, ins), *range(0, channels + 1, deform_ins)})
    for low, high in pairwise(ends):
        group = low // ins
        for first in range(0, taps, some_taps):
            tiles.append(_Tile(
                inputs=slice(low, high),
                outputs=slice(group * outs, (group + 1) * outs),
                weight_inputs=slice(low - group * ins, high - group * ins),
                deform_group=low // deform_ins,
                taps=slice(first, min(first + some_taps, taps))))
    return _Tiling(tiles, [(i, min(i + images, batch)) for i in range(0, batch, images)])


class _Axis(NamedTuple):
    """Linear interpolation along one axis; all fields are [taps, output cells]."""

    low: Tensor  # int32, the lower of the two neighboring cells; both are inside the input
    fraction: Tensor  # position - low; outside [0, 1) only beyond the first or last cell
    low_weight: Tensor
    high_weight: Tensor

    @classmethod
    def at(cls, position: Tensor, size: int) -> '_Axis':
        """Interpolate at positions along an axis of ``size`` cells, at least 2."""
        # The conversion comes before the clamp because it turns a NaN into some integer.
        low = position.to(torch.int32).clamp_(0, size - 2)
        fraction = position - low
        low_weight = (1 - fraction.abs()).relu_()
        high_weight = (1 - (fraction - 1).abs_()).relu_()
        return cls(low, fraction, low_weight, high_weight)

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Return the derivatives of both weights by the position; from the right at kinks."""
        cell = self.fraction.floor()
        before, inside, beyond = (
            (cell == value).to(self.fraction.dtype) for value in (-1, 0, 1))
        return before - inside, inside - beyond


class _Sampling(NamedTuple):
    """Bilinear interpolation of a tile's input by its taps."""

    y: _Axis
    x: _Axis
    mask: Tensor  # [taps, output cells]
    size: tuple[int, int]  # (H, W) of the input


def _make_sampling(
    offset: Tensor,
    mask: Tensor,
    tile: _Tile,
    starts: tuple[Tensor, Tensor],
    size: tuple[int, int],
) -> _Sampling:
    """Compute the interpolation of a tile.

    Args:
        offset (Tensor[b, D, K, 2, H_out, W_out]): of the tile's images.
        mask (Tensor[b, D, K, H_out, W_out]): likewise.
        tile (_Tile): the tile.
        starts (tuple[Tensor, Tensor]): from :func:`tap_positions`.
        size (tuple[int, int]): (H, W) of the input.
    """
    dtype = starts[0].dtype
    shift = offset[:, tile.deform_group, tile.taps].to(dtype)
    y, x = (
        _Axis.at(
            torch.add(
                shift[:, :, axis].transpose(0, 1), starts[axis][tile.taps].unsqueeze(1),
            ).reshape(shift.shape[1], -1), size[axis])
        for axis in (0, 1))
    tile_mask = mask[:, tile.deform_group, tile.taps].to(dtype)
    return _Sampling(
        y, x, tile_mask.transpose(0, 1).reshape(tile_mask.shape[1], -1), size)


def _corner_indices(sampling: _Sampling, images: int) -> Tensor:
    """Return the rows of the table at the corners, int32 [output cells, 4 * taps].

    The columns are 4 blocks, for the corners (0, 0), (0, 1), (1, 0) and (1, 1), (y, x). The
    table has a row for each cell of each image and tap.
    """
    height, width = sampling.size
    y, x = sampling.y.low, sampling.x.low
    taps, cells = y.shape
    image = _arange(images, y).mul_(height * width)
    row = (y * width).add_(x).view(taps, images, -1)
    row.add_(image.view(1, -1, 1)).mul_(taps).add_(_arange(taps, row).view(-1, 1, 1))
    row = row.view(taps, cells)
    found = torch.stack([row + taps * step for step in (0, 1, width, width + 1)])
    return found.view(4 * taps, cells).t().contiguous()


def _corner_weights(sampling: _Sampling) -> Tensor:
    """Return the weights of :func:`_corner_indices`, with the mask."""
    y, x, mask, _ = sampling
    taps, cells = mask.shape
    found = mask.new_empty(4, taps, cells)
    for i, weight in enumerate((y.low_weight * mask, y.high_weight * mask)):
        torch.mul(weight, x.low_weight, out=found[2 * i])
        torch.mul(weight, x.high_weight, out=found[2 * i + 1])
    return found.view(4 * taps, cells).t().contiguous()


def _tile_kernel(weight: Tensor, tile: _Tile, like: Tensor) -> Tensor:
    """Return a tile's kernel, [taps * outputs, inputs], in the type of ``like``."""
    found = weight.flatten(2)[tile.outputs, tile.weight_inputs, tile.taps].to(like.dtype)
    outs, ins, taps = found.shape
    # Two dimensions at a time, which torch transposes by blocks.
    return found.reshape(outs * ins, taps).t().reshape(taps * outs, ins)


def _product_table(x: Tensor, kernel: Tensor, taps: int, dtype: torch.dtype) -> Tensor:
    """Return the product of every cell with every tap's kernel, [b * H * W * taps, outputs]."""
    return (x.flatten(0, 1) @ kernel.t()).to(dtype).view(-1, len(kernel) // taps)


def _gather(x: Tensor, kernel: Tensor, sampling: _Sampling) -> Tensor:
    """Compute a tile's contribution to the output, [output cells, outputs].

    Args:
        x (Tensor[b, H * W, inputs]): the tile's input.
        kernel (Tensor[taps * outputs, inputs]): from :func:`_tile_kernel`.
        sampling (_Sampling): from :func:`_make_sampling`.
    """
    table = _product_table(x, kernel, len(sampling.mask), sampling.mask.dtype)
    rows = _corner_indices(sampling, len(x))
    weights = _corner_weights(sampling)
    return F.embedding_bag(rows, table, per_sample_weights=weights, mode='sum')


class _GatherGradients(NamedTuple):
    """Gradients of :func:`_gather`, by position also for the axes y and x."""

    x: Tensor
    kernel: Tensor
    y_position: Tensor
    x_position: Tensor
    mask: Tensor


def _gather_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, sampling: _Sampling
) -> _GatherGradients:
    """Compute the gradients of :func:`_gather`.

    The output is ``S @ table``, with a sparse matrix ``S`` of corner weights and
    ``table = x @ kernel^T``. Then ``d S`` is ``grad @ table^T`` at the entries of S, and
    ``d table = S^T @ grad``, which is an ``embedding_bag``, too, once the entries of ``S`` are
    sorted by column.
    """
    y_axis, x_axis, mask, size = sampling
    taps = len(mask)
    rows = _corner_indices(sampling, len(x))
    by_weight = _sampled_products(grad, _product_table(x, kernel, taps, mask.dtype), rows)
    corner = by_weight.t().contiguous().view(2, 2, taps, -1)
    by_y = [corner[i, 0] * x_axis.low_weight + corner[i, 1] * x_axis.high_weight
            for i in (0, 1)]
    by_x = [corner[0, i] * y_axis.low_weight + corner[1, i] * y_axis.high_weight
            for i in (0, 1)]
    del by_weight, corner
    low, high = y_axis.slopes()
    by_y_position = (by_y[0] * low + by_y[1] * high) * mask
    low, high = x_axis.slopes()
    by_x_position = (by_x[0] * low + by_x[1] * high) * mask
    by_mask = by_y[0] * y_axis.low_weight + by_y[1] * y_axis.high_weight
    del by_y, by_x, low, high

    counts = rows.view(-1).bincount(minlength=len(x) * size[0] * size[1] * taps)
    order = rows.view(-1).argsort()
    weights = _corner_weights(sampling).view(-1)[order]
    reader = order.div_(4 * taps, rounding_mode='floor').to(torch.int32)
    del rows, order
    by_table = F.embedding_bag(
        reader, grad, (counts.cumsum(0) - counts).to(torch.int32),
        per_sample_weights=weights, mode='sum',
    ).view(x.shape[0] * x.shape[1], -1).to(x.dtype)
    return _GatherGradients(
        x=by_table @ kernel, kernel=by_table.t() @ x.flatten(0, 1),
        y_position=by_y_position, x_position=by_x_position, mask=by_mask)


@cache
def _silence_sparse_warning() -> None:
    """Trigger torch's only warning that sparse matrices are in beta state, without showing it."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


def _sampled_products(rows: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """Compute ``rows[i] . table[index[i, j]]``, [N, K], of [N, O], [M, O] and index [N, K]."""
    _silence_sparse_warning()
    each = index.shape[1]
    entries = torch.sparse_csr_tensor(
        _arange(len(rows) + 1, index) * each, index.view(-1), rows.new_zeros(index.numel()),
        (len(rows), len(table)), check_invariants=False)
    found: Tensor = torch.sparse.sampled_addmm(entries, rows, table.t(), beta=0)
    return found.values().view(-1, each)


def _arange(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, dtype=torch.int32, device=like.device)


def _pad_to_two(x: Tensor) -> Tensor:
    """Pad a map of one row or column with zeros, so that each position has two neighbors."""
    missing = (0, int(x.shape[3] == 1), 0, int(x.shape[2] == 1))
    return F.pad(x, missing) if any(missing) else x


def _cells(x: Tensor) -> Tensor:
    """Flatten [B, C, H, W] to [B, H * W, C], without a copy of a channels-last map."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


@torch.library.custom_op('mmdet_centernet::deform_conv2d', mutates_args=())
def deform_conv2d_op(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Compute :func:`modulated_deform_conv2d`, as one operator that compilers do not change.

    An exporter translates it to an operator of its runtime, such as ONNX's ``DeformConv``,
    which has the same layout of ``offset`` and ``mask``. See there for the arguments.
    """
    x = _pad_to_two(x)
    batch, _, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[2:]
    starts = tap_positions(
        (out_h, out_w), (kernel_h, kernel_w), stride, padding, dilation, x)
    tiling = _make_tiling(x, offset, weight, groups, deform_groups, backward=False)
    taps = kernel_h * kernel_w
    offset = offset.reshape(batch, deform_groups, taps, 2, out_h, out_w)
    mask = mask.reshape(batch, deform_groups, taps, out_h, out_w)
    cells = _cells(x)
    out = cells.new_zeros((batch, out_h * out_w, out_channels), dtype=exact_dtype(x))
    if bias is not None:
        out += bias
    for tile in tiling.tiles:
        kernel = _tile_kernel(weight, tile, x)
        for first, last in tiling.images:
            sampling = _make_sampling(
                offset[first:last], mask[first:last], tile, starts, (height, width))
            gathered = _gather(cells[first:last, :, tile.inputs], kernel, sampling)
            out[first:last, :, tile.outputs] += gathered.view(last - first, out_h * out_w, -1)
            del sampling, gathered
    return out.to(x.dtype).view(batch, out_h, out_w, out_channels).permute(0, 3, 1, 2)


@deform_conv2d_op.register_fake
def _deform_conv2d_shape(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    deform_groups: int,
) -> Tensor:
    out_h, out_w = offset.shape[2:]
    return x.new_empty((x.shape[0], out_h, out_w, weight.shape[0])).permute(0, 3, 1, 2)


@torch.library.custom_op('mmdet_centernet::deform_conv2d_backward', mutates_args=())
def _deform_conv2d_backward(
    grad: Tensor,
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    deform_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute the gradients by ``x``, ``offset``, ``mask`` and ``weight``."""
    size, exact = x.shape[2:], exact_dtype(x)
    x = _pad_to_two(x)
    batch, channels, height, width = x.shape
    kernel_h, kernel_w = weight.shape[2:]
    out_h, out_w = offset.shape[2:]
    starts = tap_positions(
        (out_h, out_w), (kernel_h, kernel_w), stride, padding, dilation, x)
    tiling = _make_tiling(x, offset, weight, groups, deform_groups, backward=True)
    offsets = offset.reshape(batch, deform_groups, kernel_h * kernel_w, 2, out_h, out_w)
    masks = mask.reshape(batch, deform_groups, kernel_h * kernel_w, out_h, out_w)
    cells, grads = _cells(x), _cells(grad).to(exact)
    grad_cells, grad_offsets, grad_masks, grad_weight = (
        t.new_zeros(t.shape, dtype=exact) for t in (cells, offsets, masks, weight.flatten(2)))
    for tile in tiling.tiles:
        kernel = _tile_kernel(weight, tile, x)
        grad_kernel = kernel.new_zeros(kernel.shape, dtype=exact)
        for first, last in tiling.images:
            sampling = _make_sampling(
                offsets[first:last], masks[first:last], tile, starts, (height, width))
            found = _gather_backward(
                grads[first:last, :, tile.outputs].flatten(0, 1),
                cells[first:last, :, tile.inputs], kernel, sampling)
            into = (slice(first, last), tile.deform_group, tile.taps)
            shape = (-1, last - first, out_h, out_w)
            into_offsets = grad_offsets[into]
            into_offsets[:, :, 0] += found.y_position.view(shape).transpose(0, 1)
            into_offsets[:, :, 1] += found.x_position.view(shape).transpose(0, 1)
            grad_masks[into] += found.mask.view(shape).transpose(0, 1)
            grad_cells[first:last, :, tile.inputs] += found.x.view(
                last - first, height * width, -1)
            grad_kernel += found.kernel
            del sampling, found
        taps = tile.taps.stop - tile.taps.start
        grad_weight[tile.outputs, tile.weight_inputs, tile.taps] += grad_kernel.view(
            taps, -1, kernel.shape[1]).permute(1, 2, 0)
    grad_x = grad_cells.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return (
        grad_x[:, :, :size[0], :size[1]].to(x.dtype).contiguous(
            memory_format=torch.channels_last),
        grad_offsets.view(offset.shape).to(offset.dtype),
        grad_masks.view(mask.shape).to(mask.dtype),
        grad_weight.view(weight.shape).to(weight.dtype),
    )


@_deform_conv2d_backward.register_fake
def _deform_conv2d_backward_shape(
    grad: Tensor,
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    deform_groups: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, channels, height, width = x.shape
    return (
        x.new_empty((batch, height, width, channels)).permute(0, 3, 1, 2),
        offset.new_empty(offset.shape),
        mask.new_empty(mask.shape),
        weight.new_empty(weight.shape),
    )


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, offset, mask, weight, bias, *ctx.settings = inputs
    ctx.save_for_backward(x, offset, mask, weight)
    ctx.bias_dtype = None if bias is None else bias.dtype


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    by_input = _deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.settings)
    by_bias = None
    if ctx.bias_dtype is not None:
        by_bias = grad.sum((0, 2, 3)).to(ctx.bias_dtype)
    return (*by_input, by_bias, *[None] * len(ctx.settings))


deform_conv2d_op.register_autograd(_gradients, setup_context=_keep_inputs)
