"""The layers of one branch of a head."""
from typing import Any

from mmcv.cnn import Scale, build_norm_layer
from torch import nn


def build_branch(
    in_channels: int,
    feat_channels: int,
    out_channels: int,
    norm_cfg: dict[str, Any] | None = None,
    num_convs: int = 1,
    learn_scale: bool = False,
) -> nn.Sequential:
    """Build the convolutions of a branch: some of 3x3, and one of 1x1.

    Args:
        norm_cfg (dict, optional): normalization after each 3x3 convolution, which then has no
            bias.
        num_convs (int): number of 3x3 convolutions.
        learn_scale (bool): end with a factor that is learned.
    """
    layers: list[nn.Module] = []
    for index in range(num_convs):
        layers.append(nn.Conv2d(feat_channels if index else in_channels, feat_channels, 3,
                                padding=1, bias=norm_cfg is None))
        if norm_cfg is not None:
            layers.append(build_norm_layer(norm_cfg, feat_channels)[1])
        layers.append(nn.ReLU(inplace=True))
    layers.append(nn.Conv2d(feat_channels, out_channels, 1))
    if learn_scale:
        layers.append(Scale())
    return nn.Sequential(*layers)
