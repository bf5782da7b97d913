"""Angles as one of N bins and a residual (Delving into Localization Errors for Monocular 3D
Object Detection, MonoDLE, which has 12 bins).

The N bins divide the circle into equal parts; bin 0 is centered on 0. Channels: N logits of the
bins, then for each bin the angle relative to its center, radians.
"""
import math

import torch
from torch import Tensor

from mmdet_centernet.ops.camera import wrap_angle

CERTAIN = 10.0  # logit of a network that is certain of a bin


def encode_bins(angles: Tensor, num_bins: int) -> Tensor:
    """Return the bin of angles [N] (radians) and the angle relative to its center, [N, 2]."""
    width = 2 * math.pi / num_bins
    index = (angles / width).round()
    residual = angles - index * width
    return torch.stack((index.remainder(num_bins), residual), dim=-1)


def decode_bins(output: Tensor) -> Tensor:
    """Return the angles [...] in [-pi, pi) that outputs [..., 2 N] mean: those of the best bins.

    Of equal logits the first counts.
    """
    logits, residual = output.chunk(2, dim=-1)
    index = logits.argmax(dim=-1, keepdim=True)
    angles = index.to(output.dtype) * (2 * math.pi / logits.shape[-1]) + residual.gather(-1, index)
    return wrap_angle(angles[..., 0])


def bins_to_output(encoded: Tensor, num_bins: int) -> Tensor:
    """Return outputs [..., 2 N] of a network that is certain of encoded angles [..., 2]."""
    index, residual = encoded.split(1, dim=-1)
    inside = index == torch.arange(num_bins, device=encoded.device)
    return torch.cat((torch.where(inside, CERTAIN, -CERTAIN), residual.expand(inside.shape)), -1)


def flip_bins(values: Tensor) -> Tensor:
    """Map outputs [B, 2 N, H, W] for flipped images to those for the images, N even.

    A flipped object is observed at pi minus its angle: in the bin opposite to that of the negative
    angle, with the negative residual.
    """
    num_bins = values.shape[1] // 2
    order = (num_bins // 2 - torch.arange(num_bins, device=values.device)) % num_bins
    logits, residual = values.flip(-1).chunk(2, dim=1)
    return torch.cat((logits[:, order], -residual[:, order]), dim=1)
