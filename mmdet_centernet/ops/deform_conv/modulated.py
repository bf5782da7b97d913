"""Choice of the implementation by device."""
import torch
from torch import Tensor

from mmdet_centernet.ops.deform_conv.embedding_bag import deform_conv2d_op
from mmdet_centernet.ops.deform_conv.grid_sample import deform_conv2d_by_grid_sample


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
    """Compute a modulated deformable convolution (arXiv:1811.11168, eq. 1).

    ``y(p) = sum_k w_k * x(p + p_k + dp_k) * dm_k`` with bilinear interpolation and zeros outside
    the input. The argument order is that of mmcv's function of this name.

    On a CPU it needs at most ``embedding_bag.WORKSPACE`` bytes, or what one kernel tap of one
    image needs, in addition to inputs, outputs and gradients (those of half precision also in
    float32) and a copy of the weight. It keeps only its inputs for the backward pass.

    Args:
        x (Tensor[B, C, H, W]): input.
        offset (Tensor[B, 2 * D * K, H_out, W_out]): ``dp``, (y, x) pairs in input cells for
            each of D deformable groups and K = kernel height * kernel width taps.
        mask (Tensor[B, D * K, H_out, W_out]): ``dm``, after its sigmoid.
        weight (Tensor[O, C / groups, kernel height, kernel width]): ``w``.
        bias (Tensor[O], optional): added to the output.
        stride, padding, dilation (tuple[int, int]): (y, x), as in a convolution.
        groups (int): groups of the convolution.
        deform_groups (int): D, groups of channels with their own offsets and masks.

    Returns:
        Tensor[B, O, H_out, W_out]: of the type of ``x``, or of autocast.

    Raises:
        ValueError: if the channels of ``offset`` or ``mask`` do not fit the kernel and
            ``deform_groups``, or the channels are not divisible by the groups.
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
            f'{channels} input channels are not divisible by groups={groups} and '
            f'deform_groups={deform_groups}.'
        )

    device = x.device.type
    if (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
            and x.dtype != torch.float64):
        x = x.to(torch.get_autocast_dtype(device))
    exporting = torch.compiler.is_exporting() or torch.jit.is_tracing()
    if exporting or device != 'cpu':
        return deform_conv2d_by_grid_sample(
            x, offset, mask, weight, bias, stride, padding, dilation, groups, deform_groups)
    out: Tensor = deform_conv2d_op(
        x, offset, mask, weight, bias, list(stride), list(padding), list(dilation), groups,
        deform_groups)
    # As convolutions do: the output is channels-last only if the input is.
    plain = x.is_contiguous() and not x.is_contiguous(memory_format=torch.channels_last)
    return out.contiguous() if plain else out
