"""Deconvolution neck of the paper's ResNets."""
from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from .conv import conv_bn_relu, reset_plain
from .features import check_channels
from .upsample import fill_bilinear


@MODELS.register_module()
class CTResNetNeck(BaseModule):
    """Upsamples the last backbone feature, a 3x3 convolution before each step of 2
    (Objects as Points, Sec. 5, "ResNet").

    Parameter names are those of MMDetection's neck of this name.

    Args:
        in_channels (int): channels of the last backbone feature.
        num_deconv_filters (Sequence[int]): output channels of each step.
        num_deconv_kernels (Sequence[int]): kernel of each step's deconvolution, 4.
        use_dcn (bool): deformable 3x3 convolutions (DCNv2), else plain ones.
        pre_conv (bool): a 3x3 convolution before each deconvolution; without them the neck is
            that of the original's ResNets without DCNv2, and ``use_dcn`` says nothing.
        conv_bias (bool): give the 3x3 convolutions a bias, which the batch norm behind them
            makes void, as in the original; for its weights.
        init_cfg (dict, optional): mmengine initialisation.

    Raises:
        ValueError: if the two sequences differ in length.
    """

    def __init__(
        self,
        in_channels: int,
        num_deconv_filters: Sequence[int],
        num_deconv_kernels: Sequence[int],
        use_dcn: bool = True,
        pre_conv: bool = True,
        conv_bias: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(num_deconv_filters) != len(num_deconv_kernels):
            raise ValueError(
                f'num_deconv_filters = {num_deconv_filters} and num_deconv_kernels = '
                f'{num_deconv_kernels} must have one entry per step.')
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
        """Deconvolutions begin as bilinear upsampling, plain convolutions as PyTorch's;
        deconvolutions alone begin near zero. All as in the original."""
        super().init_weights()
        for layer in self.deconv_layers:
            reset_plain(layer)
            if isinstance(layer.conv, nn.ConvTranspose2d):
                if self.pre_conv:
                    fill_bilinear(layer.conv)
                else:
                    nn.init.normal_(layer.conv.weight, std=0.001)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        """``features[-1]``, [B, C, H, W], to one map [B, filters[-1], 2^n H, 2^n W].

        Raises:
            UserError: if it has other channels than the neck takes.
        """
        check_channels(features[-1:], (self.in_channels, ), 'CTResNetNeck')
        return (self.deconv_layers(features[-1]),)
