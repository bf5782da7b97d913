"""Angles as two overlapping bins (Objects as Points, Sec. 4.1 "3D detection"; Mousavian et al.).

A network regresses angles badly, which jump from pi to -pi. So it says for each of two bins
whether the angle is inside, and the sine and cosine of the angle from the middle of the bin. The
bins lie around -pi / 2 and pi / 2 and reach pi / 6 into each other at both ends. Layout of the
channels: per bin "outside", "inside" (logits), sine, cosine.
"""
import math
from typing import NamedTuple

import torch
from torch import Tensor

from mmdet_centernet.ops.camera import wrap_angle

BIN_CENTERS = (-math.pi / 2, math.pi / 2)
OVERLAP = math.pi / 6
CHANNELS_PER_BIN = 4
CHANNELS = CHANNELS_PER_BIN * len(BIN_CENTERS)
#: Where the sines are, which a mirror image has with the other sign.
SINES = tuple(CHANNELS_PER_BIN * index + 2 for index in range(len(BIN_CENTERS)))


class BinnedAngles(NamedTuple):
    """N angles.

    Attributes:
        inside (Tensor[N, 2]): bool, which bins an angle is in; at least one.
        sin_cos (Tensor[N, 2, 2]): of the angle from the middle of each bin.
    """

    inside: Tensor
    sin_cos: Tensor


def encode_angles(angles: Tensor) -> BinnedAngles:
    """Angles [N], radians, as what the network should say of them."""
    centers = torch.tensor(BIN_CENTERS, dtype=angles.dtype, device=angles.device)
    residual = wrap_angle(angles[:, None] - centers)
    inside = residual.abs() < math.pi / len(BIN_CENTERS) + OVERLAP
    return BinnedAngles(inside, torch.stack((residual.sin(), residual.cos()), dim=-1))


def decode_angles(output: Tensor) -> Tensor:
    """Angles that a network means.

    As in the original the bin with the larger logit of "inside" counts, the last one if both are
    equal; those of "outside" are not looked at.

    Args:
        output (Tensor[..., 8]): see above.

    Returns:
        Tensor[...]: radians in [-pi, pi).
    """
    bins = output.unflatten(-1, (len(BIN_CENTERS), CHANNELS_PER_BIN))
    centers = torch.tensor(BIN_CENTERS, dtype=output.dtype, device=output.device)
    angles = torch.atan2(bins[..., 2], bins[..., 3]) + centers
    first = bins[..., 0, 1] > bins[..., 1, 1]
    return wrap_angle(torch.where(first, angles[..., 0], angles[..., 1]))
