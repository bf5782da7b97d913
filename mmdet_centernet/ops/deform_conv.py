"""Modulated deformable convolution (DCNv2, arXiv:1811.11168) in plain PyTorch.

``grid_sample`` reads the input at every kernel tap's shifted position, the mask scales what
it read, and a matrix product applies the weights. Everything is differentiable and made of
standard operators, so it runs on any device, needs no compiler and can be exported.
"""
import torch
from torch import Tensor
from torch.nn import functional as F


def _split_channels(batch: int, channels: int, device: torch.device) -> int:
    """Into how many groups of channels ``grid_sample``'s work is cut.

    On a CPU it works on the images of a batch in parallel, but not within one, so that a
    batch smaller than the number of threads would leave threads idle.
    """
    if device.type != 'cpu':
        return 1
    wanted = -(-torch.get_num_threads() // max(batch, 1))
    while channels % wanted:
        wanted -= 1
    return wanted


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
        Tensor[B, O, H_out, W_out]

    Raises:
        ValueError: if ``offset`` or ``mask`` has not the channels that kernel and
            ``deform_groups`` ask for, or the channels do not divide into the groups.
    """
    batch, channels, height, width = x.shape
    out_channels, _, kernel_h, kernel_w = weight.shape
    taps = kernel_h * kernel_w
    out_h, out_w = offset.shape[-2:]
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

    # Half precision cannot hold positions beyond a few hundred cells.
    dtype = torch.promote_types(x.dtype, torch.float32)

    # Where every tap reads, in input cells: [B * D, K * H_out, W_out].
    def positions(shift: Tensor, size: int, axis: int) -> Tensor:
        start = torch.arange(size, device=x.device, dtype=dtype) * stride[axis] - padding[axis]
        tap = torch.arange(weight.shape[2 + axis], device=x.device, dtype=dtype) * dilation[axis]
        tap = tap.view(-1, 1) if axis == 0 else tap.view(1, -1)
        tap = tap.expand(kernel_h, kernel_w).reshape(1, taps, 1, 1)
        start = start.view(1, 1, -1, 1) if axis == 0 else start.view(1, 1, 1, -1)
        return (shift + tap + start).reshape(batch * deform_groups, taps * out_h, out_w)

    shift = offset.to(dtype).reshape(batch * deform_groups, taps, 2, out_h, out_w)
    y = positions(shift[:, :, 0], out_h, 0)
    x_pos = positions(shift[:, :, 1], out_w, 1)
    # grid_sample's [-1, 1] spans the outer edges of the outer cells (align_corners=False),
    # which is defined for a single row or column too.
    grid = torch.stack(((2 * x_pos + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)

    split = _split_channels(batch * deform_groups, channels // deform_groups, x.device)
    if split > 1:
        grid = grid.repeat_interleave(split, dim=0)
    columns = F.grid_sample(
        x.to(dtype).reshape(-1, channels // (deform_groups * split), height, width),
        grid, mode='bilinear', padding_mode='zeros', align_corners=False,
    ).view(batch, deform_groups, channels // deform_groups, taps, out_h, out_w)
    columns = columns * mask.to(dtype).reshape(batch, deform_groups, 1, taps, out_h, out_w)
    columns = columns.view(batch, groups, channels // groups * taps, out_h * out_w).to(x.dtype)
    out = torch.matmul(weight.to(x.dtype).reshape(groups, out_channels // groups, -1), columns)
    out = out.view(batch, out_channels, out_h, out_w)
    return out if bias is None else out + bias.to(x.dtype).view(1, -1, 1, 1)


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
    """:func:`modulated_deform_conv2d` as one node of an exported graph.

    An exporter translates it to an operator of its runtime, such as ONNX's ``DeformConv``,
    which has the same layout of ``offset`` and ``mask``. Arguments as there. No gradient.
    """
    return modulated_deform_conv2d(
        x, offset, mask, weight, bias, (stride[0], stride[1]), (padding[0], padding[1]),
        (dilation[0], dilation[1]), groups, deform_groups).contiguous()


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
    return x.new_empty((x.shape[0], weight.shape[0], *offset.shape[-2:]))
