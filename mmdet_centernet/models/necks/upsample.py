"""Initialization of deconvolutions as bilinear upsampling."""
import math

import torch
from torch import nn


@torch.no_grad()
def fill_bilinear(deconv: nn.ConvTranspose2d) -> None:
    """Set the kernel of every group's first input channel to bilinear upsampling.

    A depthwise deconvolution has no other kernels; those of a dense one keep their values, as
    in the original.
    """
    size = deconv.kernel_size[0]
    half = math.ceil(size / 2)
    center = (2 * half - 1 - half % 2) / (2 * half)
    line = 1 - (torch.arange(size) / half - center).abs()
    deconv.weight[:, 0] = (line[:, None] * line).to(deconv.weight)
