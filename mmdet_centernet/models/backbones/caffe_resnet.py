"""ResNet with the strides and the pooling of its first, Caffe's, edition."""
from mmdet.models.backbones import ResNet
from torch import nn

from ...registry import MODELS


@MODELS.register_module()
class CaffeResNet(ResNet):
    """``mmdet.ResNet`` with ``style='caffe'``, the stride in a bottleneck's first 1x1
    convolution, and with unpadded max pooling that rounds up, as in Caffe.

    bubbliiiing/centernet-pytorch has this ResNet-50. Parameter names are ``mmdet.ResNet``'s.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        kwargs: as in ``mmdet.ResNet``.
    """

    def __init__(self, depth: int, **kwargs) -> None:
        super().__init__(depth, style='caffe', **kwargs)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        super()._make_stem_layer(in_channels, stem_channels)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
