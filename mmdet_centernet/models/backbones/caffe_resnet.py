"""ResNet with the strides and the pooling of its first edition, in Caffe."""
from typing import Any

from mmdet.models.backbones import ResNet
from torch import nn

from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class CaffeResNet(ResNet):
    """``mmdet.ResNet`` as in Caffe.

    Bottlenecks stride in their first 1x1 convolution (``style='caffe'``), and max pooling is
    unpadded and rounds up. bubbliiiing/centernet-pytorch has this ResNet-50. Parameter names
    are those of ``mmdet.ResNet``.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        **kwargs: other arguments of ``mmdet.ResNet``.
    """

    def __init__(self, depth: int, **kwargs: Any) -> None:
        super().__init__(depth, style='caffe', **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
