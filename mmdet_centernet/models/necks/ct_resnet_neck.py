"""Deconvolution neck of the paper's ResNets."""
from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_centernet.models.necks.conv import conv_bn_relu, reset_plain
from mmdet_centernet.models.necks.features import check_channels, require_inputs
from mmdet_centernet.models.necks.upsample import fill_bilinear
from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class CTResNetNeck(BaseModule):
    """Neck that upsamples the last backbone feature (Objects as Points, Sec. 5, "ResNet").

    Each step is a 3x3 convolution and a deconvolution of stride 2. Parameter names are those of
    MMDetection's neck of this name.

    Args:
        in_channels (int | Sequence[int], optional): channels of the last backbone feature, or
            of all of them. With None, the detector :class:`CenterNet` reads them from its
            backbone.
        num_deconv_filters (Sequence[int]): output channels of each step.
        num_deconv_kernels (Sequence[int]): kernel size of each step's deconvolution, 4.
        use_dcn (bool): use deformable 3x3 convolutions (DCNv2) instead of plain ones.
        pre_conv (bool): have a 3x3 convolution before each deconvolution. Without them the neck
            is that of the original's ResNets without DCNv2, and ``use_dcn`` has no effect.
        conv_bias (bool): give the 3x3 convolutions a bias. The batch norm behind them cancels
            it, but the original's weights have it.
        init_cfg (dict, optional): mmengine initialization.

    Raises:
        ValueError: if the two sequences differ in length.
    """

    def __init__(
        self,
        in_channels: int | Sequence[int] | None,
        num_deconv_filters: Sequence[int],
        num_deconv_kernels: Sequence[int],
        use_dcn: bool = True,
        pre_conv: bool = True,
        conv_bias: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(num_deconv_filters) != len(num_deconv_kernels):
            raise ValueError(
                f'num_deconv_filters = {num_deconv_filters} and num_deconv_kernels = '
                f'{num_deconv_kernels} must have one entry per step.')
        require_inputs('CTResNetNeck', in_channels=in_channels)
        assert in_channels is not None
        if not isinstance(in_channels, int):
            in_channels = in_channels[-1]
        self.in_channels = in_channels
        self.pre_conv = pre_conv
        layers = []
        for filters, kernel in zip(num_deconv_filters, num_deconv_kernels, strict=True):
            if pre_conv:
                layers.append(conv_bn_relu(in_channels, filters, use_dcn, conv_bias))
                in_channels = filters
            layers.append(ConvModule(
                in_channels, filters, kernel, stride=2, padding=1,
                conv_cfg=dict(type='deconv'), norm_cfg=dict(type='BN')))
            in_channels = filters
        self.deconv_layers = nn.Sequential(*layers)

    def init_weights(self) -> None:
        """Initialize the neck as the original does.

        Deconvolutions start as bilinear upsampling, or, without 3x3 convolutions, near zero;
        plain convolutions start as PyTorch's.
        """
        super().init_weights()
        for layer in self.deconv_layers:
            reset_plain(layer)
            if isinstance(layer.conv, nn.ConvTranspose2d):
                if self.pre_conv:
                    fill_bilinear(layer.conv)
                else:
                    nn.init.normal_(layer.conv.weight, std=0.001)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        """Upsample ``features[-1]`` [B, C, H, W] to one map [B, filters[-1], 2^n H, 2^n W].

        Raises:
            UserError: if it does not have ``in_channels`` channels.
        """
        check_channels(features[-1:], (self.in_channels, ), 'CTResNetNeck')
        return (self.deconv_layers(features[-1]),)
