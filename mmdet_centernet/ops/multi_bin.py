"""Angles as two overlapping bins (Objects as Points, Sec. 4.1 "3D detection"; Mousavian et al.).

Angles jump from pi to -pi, which a network cannot regress well. Instead, for each of two bins, it
classifies whether the angle is inside, and regresses the sine and cosine of the angle relative to
the center of the bin. The bins are centered at -pi / 2 and pi / 2 and overlap by pi / 6 at both
ends. Channels of each bin: "outside" and "inside" (logits), sine, cosine.
"""
import math

import torch
from torch import Tensor

from mmdet_centernet.ops.camera import wrap_angle

BIN_CENTERS = (-math.pi / 2, math.pi / 2)
OVERLAP = math.pi / 6
CHANNELS_PER_BIN = 4
CHANNELS = CHANNELS_PER_BIN * len(BIN_CENTERS)
#: Channels of the sines, which change sign in a flipped image.
SINES = tuple(CHANNELS_PER_BIN * index + 2 for index in range(len(BIN_CENTERS)))


def encode_angles(angles: Tensor) -> Tensor:
    """Encode angles in bins.

    Args:
        angles (Tensor[N]): radians.

    Returns:
        Tensor[N, 2, 3]: for each bin 1 if the angle is inside, else 0, and the sine and cosine
        of the angle relative to the center of the bin. Every angle is inside at least one bin.
    """
    centers = torch.tensor(BIN_CENTERS, dtype=angles.dtype, device=angles.device)
    residual = wrap_angle(angles[:, None] - centers)
    inside = residual.abs() < math.pi / len(BIN_CENTERS) + OVERLAP
    return torch.stack((inside.to(angles.dtype), residual.sin(), residual.cos()), dim=-1)


def to_output(encoded: Tensor) -> Tensor:
    """Return outputs [..., 8] of a network that is certain of encoded angles [..., 2, 3]."""
    inside, sin_cos = encoded[..., :1], encoded[..., 1:]
    return torch.cat((-inside, inside, sin_cos), dim=-1).flatten(-2)


def flip_angles(values: Tensor) -> Tensor:
    """Map multi-bin outputs [B, 8, H, W] for flipped images to those for the images.

    A flipped object is observed at pi minus its angle, which is the negative angle relative to
    the center of a bin: the sines change sign.
    """
    sign = values.new_ones(CHANNELS)
    sign[list(SINES)] = -1
    return values.flip(-1) * sign[:, None, None]


def decode_angles(output: Tensor) -> Tensor:
    """Decode angles from a network's outputs.

    As in the original implementation, the bin with the larger logit of "inside" is used, the
    last one if both are equal; the logits of "outside" are not used.

    Args:
        output (Tensor[..., 8]): channels as described for the module.

    Returns:
        Tensor[...]: radians in [-pi, pi).
    """
    bins = output.unflatten(-1, (len(BIN_CENTERS), CHANNELS_PER_BIN))
    centers = torch.tensor(BIN_CENTERS, dtype=output.dtype, device=output.device)
    angles = torch.atan2(bins[..., 2], bins[..., 3]) + centers
    first = bins[..., 0, 1] > bins[..., 1, 1]
    return wrap_angle(torch.where(first, angles[..., 0], angles[..., 1]))
