"""Deconvolution neck of the paper's ResNets."""
from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import DCNv2
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
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if len(num_deconv_filters) != len(num_deconv_kernels):
            raise ValueError(
                f'num_deconv_filters = {num_deconv_filters} and num_deconv_kernels = '
                f'{num_deconv_kernels} must have one entry per step.')
        norm = dict(type='BN')
        conv = dict(type=DCNv2) if use_dcn else None
        layers = []
        for filters, kernel in zip(num_deconv_filters, num_deconv_kernels, strict=True):
            layers.append(ConvModule(
                in_channels, filters, 3, padding=1, conv_cfg=conv, norm_cfg=norm))
            layers.append(ConvModule(
                filters, filters, kernel, stride=2, padding=1,
                conv_cfg=dict(type='deconv'), norm_cfg=norm))
            in_channels = filters
        self.deconv_layers = nn.Sequential(*layers)

    def init_weights(self) -> None:
        """Deconvolutions begin as bilinear upsampling, plain convolutions as PyTorch's."""
        super().init_weights()
        for layer in self.deconv_layers:
            if isinstance(layer.conv, nn.ConvTranspose2d):
                layer.conv.reset_parameters()
                fill_bilinear(layer.conv)
            elif not isinstance(layer.conv, DCNv2):
                layer.conv.reset_parameters()

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        """``features[-1]``, [B, C, H, W], to one map [B, filters[-1], 2^n H, 2^n W]."""
        return (self.deconv_layers(features[-1]),)
