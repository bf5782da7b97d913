"""Does a backbone give what a neck takes?"""
from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import UserError


def check_channels(features: Sequence[Tensor], channels: Sequence[int], neck: str) -> None:
    """Hold the number of feature maps and their channels against the neck's.

    Raises:
        UserError: if they differ.
    """
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        return
    given = tuple(x.shape[1] for x in features)
    if given != tuple(channels):
        raise UserError(
            f'the backbone gives {len(given)} feature map(s) of {given} channels, where the '
            f'neck {neck} takes {len(channels)} of {tuple(channels)}: set in_channels of the '
            "neck, or the backbone's outputs (out_indices or out_strides), so that they agree")


def check_sizes(features: Sequence[Tensor], strides: Sequence[int], neck: str) -> None:
    """Hold the sizes of feature maps, finest first, against the neck's strides.

    Raises:
        UserError: if a map does not have the first one's size, divided by the ratio of their
            strides and rounded up.
    """
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        return
    finest = tuple(features[0].shape[2:])
    for x, stride in zip(features, strides, strict=True):
        expected = tuple(-(-side * strides[0] // stride) for side in finest)
        given = tuple(x.shape[2:])
        if given != expected:
            raise UserError(
                f'the backbone gives a feature map of {given} cells beside one of {finest}, '
                f'where in_strides = {tuple(strides)} of the neck {neck} make it {expected}: '
                "set in_strides to the strides of the backbone's outputs, or, if the backbone "
                'rounds sizes down, data_preprocessor.pad_size_divisor to the coarsest of them')
