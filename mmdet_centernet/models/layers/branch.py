"""The layers of one branch of a head."""
from typing import Any

from mmcv.cnn import build_norm_layer
from torch import nn


def build_branch(
    in_channels: int, feat_channels: int, out_channels: int, norm_cfg: dict[str, Any] | None = None
) -> nn.Sequential:
    """Build the two convolutions of a branch.

    Args:
        norm_cfg (dict, optional): normalization after the first convolution, which then has no
            bias.
    """
    layers = [nn.Conv2d(in_channels, feat_channels, 3, padding=1, bias=norm_cfg is None)]
    if norm_cfg is not None:
        layers.append(build_norm_layer(norm_cfg, feat_channels)[1])
    return nn.Sequential(
        *layers, nn.ReLU(inplace=True), nn.Conv2d(feat_channels, out_channels, 1))
