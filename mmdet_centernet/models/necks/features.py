"""Checks that a backbone's features fit a neck."""
from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_centernet.errors import UserError


def require_inputs(neck: str, **values: object) -> None:
    """Check that the channels and strides of a neck's inputs are known.

    Raises:
        UserError: if one of them is None.
    """
    for name, value in values.items():
        if value is None:
            raise UserError(
                f'{name} of the neck {neck} is None, which only the detector '
                "mmdet_centernet.CenterNet replaces by the backbone's: give the numbers")


def check_channels(features: Sequence[Tensor], channels: Sequence[int], neck: str) -> None:
    """Compare the number of feature maps and their channels with the neck's.

    Raises:
        UserError: if they differ.
    """
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        return
    given = tuple(x.shape[1] for x in features)
    if given != tuple(channels):
        raise UserError(
            f'the backbone outputs {len(given)} feature map(s) of {given} channels, but the '
            f'neck {neck} needs {len(channels)} of {tuple(channels)}: set in_channels of the '
            "neck, or the backbone's outputs (out_indices or out_strides), so that they agree; "
            'with in_channels=None the detector reads the numbers from the backbone')


def check_sizes(features: Sequence[Tensor], strides: Sequence[int], neck: str) -> None:
    """Compare the sizes of feature maps, finest first, with the neck's strides.

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
                f'the backbone outputs feature maps of {finest} and {given} cells, but '
                f'in_strides = {tuple(strides)} of the neck {neck} needs {expected}: '
                "set in_strides to the strides of the backbone's outputs, or, if the backbone "
                'rounds sizes down, data_preprocessor.pad_size_divisor to the coarsest of them')
