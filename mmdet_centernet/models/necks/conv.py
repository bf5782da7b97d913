"""3x3 convolutions of both necks."""
import warnings

from mmcv.cnn import ConvModule

from mmdet_centernet.models.layers.dcn import DCNv2


def conv_bn_relu(in_channels: int, out_channels: int, use_dcn: bool, bias: bool) -> ConvModule:
    """Build a 3x3 convolution, deformable or plain, with batch norm and ReLU.

    A bias before batch norm has no effect, but the original's networks have it.
    """
    with warnings.catch_warnings():
        # mmcv warns about every such bias.
        warnings.filterwarnings('ignore', message='Unnecessary conv bias')
        return ConvModule(
            in_channels, out_channels, 3, padding=1, bias=bias,
            conv_cfg=dict(type=DCNv2) if use_dcn else None, norm_cfg=dict(type='BN'))


def reset_plain(layer: ConvModule) -> None:
    """Initialize a plain convolution as PyTorch does; a deformable one initializes itself."""
    if not isinstance(layer.conv, DCNv2):
        layer.conv.reset_parameters()
