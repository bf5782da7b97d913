"""Precision and positions of the kernel taps."""
from collections.abc import Sequence

import torch
from torch import Tensor


def exact_dtype(x: Tensor) -> torch.dtype:
    """Return the type of positions and sums, at least float32.

    Half precision cannot distinguish cells beyond a few hundred.
    """
    return torch.promote_types(x.dtype, torch.float32)


def tap_positions(
    size: tuple[int, int], kernel: tuple[int, int], stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], like: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the input cells that the taps of an undeformed kernel read.

    Args:
        size (tuple[int, int]): (H_out, W_out) of the output.
        kernel (tuple[int, int]): (height, width) of the kernel, with K taps.
        stride, padding, dilation (Sequence[int]): (y, x), as in a convolution.
        like (Tensor): its device, and the type at least float32, are the result's.

    Returns:
        tuple[Tensor[K, H_out, 1], Tensor[K, 1, W_out]]: y and x, in cells.
    """
    dtype = exact_dtype(like)
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
