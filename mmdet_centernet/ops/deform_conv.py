"""Modulated deformable convolution (DCNv2, arXiv:1811.11168) in plain PyTorch.

Bilinear reading is linear, so the matrix product may come first,
``sum_k w_k x(p_k) = sum_k (w_k x)(p_k)``: then what is read has the output's channels.

On a CPU, each output cell is so a weighted sum of 4 products for each kernel tap, which is
what ``embedding_bag`` computes; a part of the products is held at a time. On other devices
and in exported graphs ``grid_sample`` reads, with standard operators only, the products if
they have fewer channels than the input.
"""
import warnings
from collections.abc import Sequence
from functools import cache, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

#: What a convolution may hold on a CPU besides its inputs, outputs and their gradients, in
#: bytes; if one kernel tap of one image needs more than that, it is handled alone.
WORKSPACE = 1 << 24


def modulated_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] = (0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Modulated deformable convolution (arXiv:1811.11168, eq. 1).

    ``y(p) = sum_k w_k * x(p + p_k + dp_k) * dm_k`` with bilinear reads and zeros outside
    the input. The argument order is that of mmcv's function of this name.

    On a CPU its peak is ``WORKSPACE`` bytes, or what one kernel tap of one image needs,
    besides inputs, outputs and gradients (those of half precision in float32 too) and its
    weight in another order. It keeps only its inputs for the backward pass.

    Args:
        x (Tensor[B, C, H, W]): input.
        offset (Tensor[B, 2 * D * K, H_out, W_out]): ``dp``, (y, x) pairs in input cells for
            each of D deformable groups and K = kernel height * kernel width taps.
        mask (Tensor[B, D * K, H_out, W_out]): ``dm``, already through its sigmoid.
        weight (Tensor[O, C / groups, kernel height, kernel width]): ``w``.
        bias (Tensor[O], optional): added to the output.
        stride, padding, dilation (tuple[int, int]): (y, x), as in a convolution.
        groups (int): groups of the convolution.
        deform_groups (int): D, groups of channels with offsets and masks of their own.

    Returns:
        Tensor[B, O, H_out, W_out]: of ``x``'s type, or of autocast's.

    Raises:
        ValueError: if ``offset`` or ``mask`` has not the channels that kernel and
            ``deform_groups`` ask for, or the channels do not divide into the groups.
    """
    channels = x.shape[1]
    kernel_h, kernel_w = weight.shape[2:]
    taps = kernel_h * kernel_w
    for name, given, wanted in (
        ('offset', offset.shape[1], 2 * deform_groups * taps),
        ('mask', mask.shape[1], deform_groups * taps),
    ):
        if given != wanted:
            raise ValueError(
                f'{name} has {given} channels, but a {kernel_h}x{kernel_w} kernel with '
                f'{deform_groups} deformable group(s) needs {wanted}.'
            )
    if channels % deform_groups or channels % groups:
        raise ValueError(
            f'{channels} input channels do not divide into groups={groups} and '
            f'deform_groups={deform_groups}.'
        )

    device = x.device.type
    if (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
            and x.dtype != torch.float64):
        x = x.to(torch.get_autocast_dtype(device))
    exporting = torch.compiler.is_exporting() or torch.jit.is_tracing()
    if exporting or device != 'cpu':
        return _with_grid_sample(
            x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)
    out: Tensor = deform_conv2d_op(
        x, offset, mask, weight, bias, list(stride), list(padding), list(dilation), groups,
        deform_groups)
    # As convolutions do: channels-last only of what is.
    plain = x.is_contiguous() and not x.is_contiguous(memory_format=torch.channels_last)
    return out.contiguous() if plain else out


def _exact(x: Tensor) -> torch.dtype:
    """For positions and sums: half precision cannot tell cells beyond a few hundred apart."""
    return torch.promote_types(x.dtype, torch.float32)


def _tap_positions(
    size: tuple[int, int], kernel: tuple[int, int], stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], like: Tensor,
) -> tuple[Tensor, Tensor]:
    """Where the taps of an undeformed kernel read for an output of a size, in input cells:
    y [K, size[0], 1] and x [K, 1, size[1]]."""
    dtype = _exact(like)
    first = [
        torch.arange(size[axis], device=like.device, dtype=dtype) * stride[axis] - padding[axis]
        for axis in (0, 1)]
    tap = [
        torch.arange(kernel[axis], device=like.device, dtype=dtype) * dilation[axis]
        for axis in (0, 1)]
    y, x = torch.meshgrid(*tap, indexing='ij')
    return (
        y.reshape(-1, 1, 1) + first[0].view(1, -1, 1),
        x.reshape(-1, 1, 1) + first[1].view(1, 1, -1))


# With grid_sample ---------------------------------------------------------------------------


def _with_grid_sample(
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
    """:func:`modulated_deform_conv2d` of standard operators."""
    batch, channels, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    out_h, out_w = offset.shape[2:]
    dtype = _exact(x)

    # [B * D, K, out_h, out_w]
    shift = offset.to(dtype).reshape(batch * deform_groups, taps, 2, out_h, out_w)
    starts = _tap_positions(
        (out_h, out_w), (kernel_h, kernel_w), stride, padding, dilation, x)
    y, x_pos = (shift[:, :, axis] + starts[axis] for axis in (0, 1))
    # grid_sample's [-1, 1] spans the outer edges of the outer cells (align_corners=False),
    # which is defined for a single row or column too.
    grid = torch.stack(((2 * x_pos + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)
    scale = mask.to(dtype)

    if groups == deform_groups == 1 and out_channels < channels:
        # Each tap's product is a map of its own: [B * K, O, H, W].
        kernels = weight.to(x.dtype).permute(2, 3, 0, 1).reshape(
            taps * out_channels, channels, 1, 1)
        products = F.conv2d(x, kernels).to(dtype)
        read = F.grid_sample(
            products.reshape(batch * taps, out_channels, height, width),
            grid.reshape(batch * taps, out_h, out_w, 2),
            mode='bilinear', padding_mode='zeros', align_corners=False)
        read = read * scale.reshape(batch * taps, 1, out_h, out_w)
        # One by one: OpenVINO fuses additions, and sums along a dimension slowly in bfloat16.
        out = reduce(torch.add, read.view(batch, taps, out_channels, out_h, out_w).unbind(1))
        out = out.to(x.dtype)
    else:
        # No fewer channels behind the product than before it, or several groups: read first.
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


# With embedding_bag --------------------------------------------------------------------------


class _Part(NamedTuple):
    """Some taps of one deformable group, inside one group of the convolution."""

    inputs: slice
    outputs: slice
    weight_inputs: slice
    deform_group: int
    taps: slice


class _Work(NamedTuple):
    """How a convolution is cut: into parts, each of which goes over images [first, last)."""

    parts: list[_Part]
    images: list[tuple[int, int]]


def _cut(
    x: Tensor, offset: Tensor, weight: Tensor, groups: int, deform_groups: int, backward: bool
) -> _Work:
    """Cut the work so that what it needs fits into WORKSPACE."""
    batch, channels, height, width = x.shape
    taps = weight.shape[2] * weight.shape[3]
    ins, outs, share = channels // groups, weight.shape[0] // groups, channels // deform_groups
    size = _exact(x).itemsize
    cells, out_cells = height * width, offset.shape[2] * offset.shape[3]
    # The table, and the indices and weights of the reads with what they are computed from;
    # backward also their order and gradients.
    tap_bytes = size * (outs * cells + (48 if backward else 24) * out_cells)
    # The part's share of the output, or of the gradient of the input.
    image_bytes = size * (ins * cells if backward else outs * out_cells)
    images = min(max(WORKSPACE // max(taps * tap_bytes + image_bytes, 1), 1), max(batch, 1))
    some_taps = taps
    if images == 1:
        some_taps = min(max((WORKSPACE - image_bytes) // max(tap_bytes, 1), 1), taps)

    parts = []
    ends = sorted({*range(0, channels + 1, ins), *range(0, channels + 1, share)})
    for low, high in pairwise(ends):
        group = low // ins
        for first in range(0, taps, some_taps):
            parts.append(_Part(
                inputs=slice(low, high),
                outputs=slice(group * outs, (group + 1) * outs),
                weight_inputs=slice(low - group * ins, high - group * ins),
                deform_group=low // share,
                taps=slice(first, min(first + some_taps, taps))))
    return _Work(parts, [(i, min(i + images, batch)) for i in range(0, batch, images)])


class _Axis(NamedTuple):
    """Bilinear reading along one axis, each [taps, cells of the output]."""

    first: Tensor  # int32, first of the two neighbours; both inside the input
    past: Tensor  # position - first; outside [0, 1) only beyond the first or last cell
    near: Tensor  # weight of the first neighbour
    far: Tensor  # weight of the second

    @classmethod
    def at(cls, position: Tensor, size: int) -> '_Axis':
        # Conversion before the clamp: it makes some integer of a NaN too.
        first = position.to(torch.int32).clamp_(0, size - 2)
        past = position - first
        near = (1 - past.abs()).relu_()
        far = (1 - (past - 1).abs_()).relu_()
        return cls(first, past, near, far)

    def slopes(self) -> tuple[Tensor, Tensor]:
        """Derivatives of ``near`` and ``far`` by the position; from the right at kinks."""
        cell = self.past.floor()
        before, inside, beyond = (
            (cell == value).to(self.past.dtype) for value in (-1, 0, 1))
        return before - inside, inside - beyond


def _axes(
    offset: Tensor, part: _Part, starts: tuple[Tensor, Tensor], size: tuple[int, int]
) -> tuple[_Axis, _Axis]:
    """How the taps of a part read some images; ``offset`` is theirs, [b, D, K, 2, h, w],
    ``starts`` are from :func:`_tap_positions`, ``size`` is the input's."""
    shift = offset[:, part.deform_group, part.taps].to(starts[0].dtype)
    y, x = (
        _Axis.at(
            torch.add(
                shift[:, :, axis].transpose(0, 1), starts[axis][part.taps].unsqueeze(1),
            ).reshape(shift.shape[1], -1), size[axis])
        for axis in (0, 1))
    return y, x


def _rows(y: _Axis, x: _Axis, images: int, size: tuple[int, int]) -> Tensor:
    """Which rows of the table are read, int32 [cells of the output, 4 * taps]: 4 blocks for
    the neighbours (0, 0), (0, 1), (1, 0) and (1, 1), (y, x). A table has a row for each cell
    of each image and tap."""
    height, width = size
    taps, cells = y.first.shape
    image = _count(images, y.first).mul_(height * width)
    row = (y.first * width).add_(x.first).view(taps, images, -1)
    row.add_(image.view(1, -1, 1)).mul_(taps).add_(_count(taps, row).view(-1, 1, 1))
    row = row.view(taps, cells)
    found = torch.stack([row + taps * step for step in (0, 1, width, width + 1)])
    return found.view(4 * taps, cells).t().contiguous()


def _weights(y: _Axis, x: _Axis, mask: Tensor) -> Tensor:
    """Weight of each row of :func:`_rows`; mask [taps, cells of the output]."""
    taps, cells = mask.shape
    found = mask.new_empty(4, taps, cells)
    for i, part in enumerate((y.near * mask, y.far * mask)):
        torch.mul(part, x.near, out=found[2 * i])
        torch.mul(part, x.far, out=found[2 * i + 1])
    return found.view(4 * taps, cells).t().contiguous()


def _part_mask(mask: Tensor, part: _Part, like: Tensor) -> Tensor:
    """[b, D, K, h, w] to [taps, cells of the output]."""
    found = mask[:, part.deform_group, part.taps].to(_exact(like))
    return found.transpose(0, 1).reshape(found.shape[1], -1)


def _part_kernel(weight: Tensor, part: _Part, like: Tensor) -> Tensor:
    """[taps * outputs, inputs]"""
    found = weight.flatten(2)[part.outputs, part.weight_inputs, part.taps].to(like.dtype)
    outs, ins, taps = found.shape
    # Two dimensions at a time, which torch transposes by blocks.
    return found.reshape(outs * ins, taps).t().reshape(taps * outs, ins)


def _read(
    x: Tensor, kernel: Tensor, y_axis: _Axis, x_axis: _Axis, mask: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """A part's share of some images' output, [cells of the output, outputs].

    Args:
        x (Tensor[b, H * W, inputs]): what the part takes.
        kernel: from :func:`_part_kernel`.
        y_axis, x_axis: from :func:`_axes`.
        mask: from :func:`_part_mask`.
        size (tuple[int, int]): (H, W).
    """
    table = _table(x, kernel, len(mask), mask.dtype)
    rows = _rows(y_axis, x_axis, len(x), size)
    weights = _weights(y_axis, x_axis, mask)
    return F.embedding_bag(rows, table, per_sample_weights=weights, mode='sum')


class _ReadGradients(NamedTuple):
    """Gradients of :func:`_read`."""

    x: Tensor
    kernel: Tensor
    y: Tensor
    x_pos: Tensor
    mask: Tensor


def _read_gradients(
    grad: Tensor, x: Tensor, kernel: Tensor, y_axis: _Axis, x_axis: _Axis, mask: Tensor,
    size: tuple[int, int],
) -> _ReadGradients:
    """With the output as ``S @ table``, ``S`` a sparse matrix and ``table = x @ kernel^T``:
    ``d S`` is ``grad @ table^T`` where S has entries, and ``d table = S^T @ grad``, which is
    an ``embedding_bag`` too once the entries of ``S`` are sorted by column."""
    taps = len(mask)
    rows = _rows(y_axis, x_axis, len(x), size)
    by_weight = _products_at(grad, _table(x, kernel, taps, mask.dtype), rows)
    corner = by_weight.t().contiguous().view(2, 2, taps, -1)
    by_y = [corner[i, 0] * x_axis.near + corner[i, 1] * x_axis.far for i in (0, 1)]
    by_x = [corner[0, i] * y_axis.near + corner[1, i] * y_axis.far for i in (0, 1)]
    del by_weight, corner
    near, far = y_axis.slopes()
    by_position_y = (by_y[0] * near + by_y[1] * far) * mask
    near, far = x_axis.slopes()
    by_position_x = (by_x[0] * near + by_x[1] * far) * mask
    by_mask = by_y[0] * y_axis.near + by_y[1] * y_axis.far
    del by_y, by_x, near, far

    counts = rows.view(-1).bincount(minlength=len(x) * size[0] * size[1] * taps)
    order = rows.view(-1).argsort()
    weights = _weights(y_axis, x_axis, mask).view(-1)[order]
    reader = order.div_(4 * taps, rounding_mode='floor').to(torch.int32)
    del rows, order
    by_table = F.embedding_bag(
        reader, grad, (counts.cumsum(0) - counts).to(torch.int32),
        per_sample_weights=weights, mode='sum',
    ).view(x.shape[0] * x.shape[1], -1).to(x.dtype)
    return _ReadGradients(
        x=by_table @ kernel, kernel=by_table.t() @ x.flatten(0, 1), y=by_position_y,
        x_pos=by_position_x, mask=by_mask)


def _table(x: Tensor, kernel: Tensor, taps: int, dtype: torch.dtype) -> Tensor:
    """Every cell's product with every tap's kernel, [b * H * W * taps, outputs]."""
    return (x.flatten(0, 1) @ kernel.t()).to(dtype).view(-1, len(kernel) // taps)


@cache
def _accept_sparse() -> None:
    """Have torch say once, unheard, that its sparse matrices are a beta."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.sparse_csr_tensor([0, 0], [], [], (1, 1), check_invariants=False)


def _products_at(rows: Tensor, table: Tensor, index: Tensor) -> Tensor:
    """``rows[i] . table[index[i, j]]`` of rows [N, O], table [M, O], index [N, K]: [N, K]."""
    _accept_sparse()
    each = index.shape[1]
    entries = torch.sparse_csr_tensor(
        _count(len(rows) + 1, index) * each, index.view(-1), rows.new_zeros(index.numel()),
        (len(rows), len(table)), check_invariants=False)
    found: Tensor = torch.sparse.sampled_addmm(entries, rows, table.t(), beta=0)
    return found.values().view(-1, each)


def _count(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, dtype=torch.int32, device=like.device)


def _at_least_two(x: Tensor) -> Tensor:
    """Zeros around a map of one row or column, so that each position has two neighbours."""
    missing = (0, int(x.shape[3] == 1), 0, int(x.shape[2] == 1))
    return F.pad(x, missing) if any(missing) else x


def _cells(x: Tensor) -> Tensor:
    """[B, C, H, W] to [B, H * W, C]; no copy of a channels-last map."""
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
    """:func:`modulated_deform_conv2d` as one operator that compilers leave alone.

    An exporter translates it to an operator of its runtime, such as ONNX's ``DeformConv``,
    which has the same layout of ``offset`` and ``mask``. Arguments as there.
    """
    x = _at_least_two(x)
    batch, _, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    out_h, out_w = offset.shape[2:]
    starts = _tap_positions(
        (out_h, out_w), (kernel_h, kernel_w), stride, padding, dilation, x)
    work = _cut(x, offset, weight, groups, deform_groups, backward=False)
    taps = kernel_h * kernel_w
    offset = offset.reshape(batch, deform_groups, taps, 2, out_h, out_w)
    mask = mask.reshape(batch, deform_groups, taps, out_h, out_w)
    cells = _cells(x)
    out = cells.new_zeros((batch, out_h * out_w, out_channels), dtype=_exact(x))
    if bias is not None:
        out += bias
    for part in work.parts:
        kernel = _part_kernel(weight, part, x)
        for first, last in work.images:
            y, x_axis = _axes(offset[first:last], part, starts, (height, width))
            read = _read(
                cells[first:last, :, part.inputs], kernel, y, x_axis,
                _part_mask(mask[first:last], part, x), (height, width))
            out[first:last, :, part.outputs] += read.view(last - first, out_h * out_w, -1)
            del y, x_axis, read
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
    """Gradients by ``x``, ``offset``, ``mask`` and ``weight``."""
    size, exact = x.shape[2:], _exact(x)
    x = _at_least_two(x)
    batch, channels, height, width = x.shape
    kernel_h, kernel_w = weight.shape[2:]
    out_h, out_w = offset.shape[2:]
    starts = _tap_positions(
        (out_h, out_w), (kernel_h, kernel_w), stride, padding, dilation, x)
    work = _cut(x, offset, weight, groups, deform_groups, backward=True)
    reads = offset.reshape(batch, deform_groups, kernel_h * kernel_w, 2, out_h, out_w)
    masks = mask.reshape(batch, deform_groups, kernel_h * kernel_w, out_h, out_w)
    cells, grads = _cells(x), _cells(grad).to(exact)
    grad_cells, grad_reads, grad_masks, grad_weight = (
        t.new_zeros(t.shape, dtype=exact) for t in (cells, reads, masks, weight.flatten(2)))
    for part in work.parts:
        kernel = _part_kernel(weight, part, x)
        grad_kernel = kernel.new_zeros(kernel.shape, dtype=exact)
        for first, last in work.images:
            y, x_axis = _axes(reads[first:last], part, starts, (height, width))
            found = _read_gradients(
                grads[first:last, :, part.outputs].flatten(0, 1),
                cells[first:last, :, part.inputs], kernel, y, x_axis,
                _part_mask(masks[first:last], part, x), (height, width))
            into = (slice(first, last), part.deform_group, part.taps)
            shape = (-1, last - first, out_h, out_w)
            into_reads = grad_reads[into]
            into_reads[:, :, 0] += found.y.view(shape).transpose(0, 1)
            into_reads[:, :, 1] += found.x_pos.view(shape).transpose(0, 1)
            grad_masks[into] += found.mask.view(shape).transpose(0, 1)
            grad_cells[first:last, :, part.inputs] += found.x.view(
                last - first, height * width, -1)
            grad_kernel += found.kernel
            del y, x_axis, found
        taps = part.taps.stop - part.taps.start
        grad_weight[part.outputs, part.weight_inputs, part.taps] += grad_kernel.view(
            taps, -1, kernel.shape[1]).permute(1, 2, 0)
    grad_x = grad_cells.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return (
        grad_x[:, :, :size[0], :size[1]].to(x.dtype).contiguous(
            memory_format=torch.channels_last),
        grad_reads.view(offset.shape).to(offset.dtype),
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
