"""Deep Layer Aggregation (arXiv:1707.06484): residual blocks aggregated in trees."""
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.layers.checkpointing import checkpointed
from mmdet_centernet.models.layers.freezing import freeze, keep_in_eval_mode
from mmdet_centernet.registry import MODELS


def _conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(
            in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels)]


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_bn(in_channels, out_channels, 3, stride)
        self.conv2, self.bn2 = _conv_bn(out_channels, out_channels, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Compute the block's output [B, O, H / stride, W / stride].

        Args:
            x (Tensor[B, C, H, W]): the input.
            shortcut (Tensor[B, O, H / stride, W / stride]): added before the last ReLU.
        """
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


class Bottleneck(nn.Module):
    """Residual block of a 1x1, a 3x3 of half the width and a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        width = out_channels // 2
        self.conv1, self.bn1 = _conv_bn(in_channels, width, 1)
        self.conv2, self.bn2 = _conv_bn(width, width, 3, stride)
        self.conv3, self.bn3 = _conv_bn(width, out_channels, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """Compute the block's output; see :meth:`BasicBlock.forward`."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        return self.relu(self.bn3(self.conv3(out)) + shortcut)


class Root(nn.Module):
    """Aggregation node: a 1x1 convolution of the concatenated maps."""

    def __init__(self, in_channels: int, out_channels: int, residual: bool) -> None:
        super().__init__()
        self.conv, self.bn = _conv_bn(in_channels, out_channels, 1)
        self.relu = nn.ReLU(inplace=True)
        self.residual = residual

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Aggregate maps of one size, the deepest first; a residual root adds that one."""
        x = self.bn(self.conv(torch.cat(tuple(maps), dim=1)))
        return self.relu(x + maps[0] if self.residual else x)


class Tree(nn.Module):
    """Hierarchical aggregation (Deep Layer Aggregation, Sec. 3.2).

    A tree of one level is two blocks aggregated by a root. A tree of more levels is two trees
    of one level less; the last root of the second one also aggregates the first one's output.

    Args:
        levels (int): depth, so that there are ``2 ** levels`` blocks.
        block (type): :class:`BasicBlock` or :class:`Bottleneck`.
        in_channels, out_channels (int): channels of input and output.
        stride (int): stride of the first block.
        passed_channels (int): channels of the maps that ``forward`` passes to the last root.
        level_root (bool): also aggregate the tree's (pooled) input at its last root.
        residual_root (bool): roots add the deepest of their inputs.
    """

    def __init__(
        self,
        levels: int,
        block: type[nn.Module],
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        passed_channels: int = 0,
        level_root: bool = False,
        residual_root: bool = False,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.level_root = level_root
        if level_root:
            passed_channels += in_channels
        # Rounding up, as the strided convolutions of the blocks do.
        self.downsample = (
            nn.MaxPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity())
        if levels == 1:
            self.tree1 = block(in_channels, out_channels, stride)
            self.tree2 = block(out_channels, out_channels, 1)
            self.root = Root(2 * out_channels + passed_channels, out_channels, residual_root)
            self.project = (
                nn.Sequential(*_conv_bn(in_channels, out_channels, 1))
                if in_channels != out_channels else nn.Identity())
        else:
            self.tree1 = Tree(
                levels - 1, block, in_channels, out_channels, stride,
                residual_root=residual_root)
            self.tree2 = Tree(
                levels - 1, block, out_channels, out_channels,
                passed_channels=passed_channels + out_channels, residual_root=residual_root)

    def forward(self, x: Tensor, passed: tuple[Tensor, ...] = ()) -> Tensor:
        """Compute the tree's output [B, O, H / stride, W / stride].

        Args:
            x (Tensor[B, C, H, W]): the input.
            passed (tuple[Tensor, ...]): maps of the output's size for the last root.
        """
        if self.level_root:
            passed += (self.downsample(x), )
        if self.levels > 1:
            first = self.tree1(x)
            return self.tree2(first, (*passed, first))
        first = self.tree1(x, self.project(self.downsample(x)))
        return self.root((self.tree2(first, first), first, *passed))


class Variant(NamedTuple):
    """Network of the paper's table 1.

    Attributes:
        depths: convolutions of levels 0 and 1, depths of the trees of levels 2 to 5.
        channels: channels of each level.
        block: block of the trees.
        residual_root: roots add the deepest of their inputs.
    """
    depths: tuple[int, ...]
    channels: tuple[int, ...]
    block: type[nn.Module]
    residual_root: bool = False


WIDE = (16, 32, 128, 256, 512, 1024)
VARIANTS = {
    'dla34': Variant((1, 1, 1, 2, 2, 1), (16, 32, 64, 128, 256, 512), BasicBlock),
    'dla46_c': Variant((1, 1, 1, 2, 2, 1), (16, 32, 64, 64, 128, 256), Bottleneck),
    'dla60': Variant((1, 1, 1, 2, 3, 1), WIDE, Bottleneck),
    'dla102': Variant((1, 1, 1, 3, 4, 1), WIDE, Bottleneck, residual_root=True),
    'dla169': Variant((1, 1, 2, 3, 5, 1), WIDE, Bottleneck, residual_root=True),
}


@MODELS.register_module()
class DLA(BaseModule):
    """Deep Layer Aggregation as a backbone; :class:`DLAUp` fuses its features.

    Parameter names are those of the published weights, both of ucbdrive/dla and of timm.
    Weights that no output needs are dropped on loading: the classifier, the projections that
    ucbdrive/dla has but does not use in trees of two and more levels, and levels coarser than
    ``out_strides``. The ImageNet weights expect RGB images with ImageNet's mean and standard
    deviation.

    Args:
        variant (str): ``'dla34'``, ``'dla46_c'``, ``'dla60'``, ``'dla102'`` or ``'dla169'``.
        out_strides (Sequence[int]): strides of the features to return, from 2 to 32. Odd sizes
            round up.
        frozen_stages (int): the stem, up to stride 2, and this number of the stages of the
            strides 4, 8, 16 and 32 keep their weights and batch norm statistics and need no
            backward pass; -1 freezes nothing.
        norm_eval (bool): keep all batch norms in eval mode while training.
        with_cp (bool): compute the intermediate results of each stage again in the backward
            pass instead of keeping them, which saves memory and costs time.
        init_cfg (dict, optional): mmengine initialization, for instance
            ``dict(type='Pretrained', checkpoint='pretrained://dla34')``; by default
            convolutions are initialized as proposed by He et al. (arXiv:1502.01852).

    Attributes:
        out_channels (list[int]): channels of the returned features.
        out_strides (list[int]): their strides in input pixels.

    Raises:
        ValueError: for an unknown variant or stride, or for frozen stages that do not exist.
    """

    def __init__(
        self,
        variant: str = 'dla34',
        out_strides: Sequence[int] = (4, 8, 16, 32),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg or dict(type='Kaiming', layer='Conv2d'))
        if variant not in VARIANTS:
            raise ValueError(f"variant = '{variant}' must be one of {sorted(VARIANTS)}.")
        depths, channels, block, residual_root = VARIANTS[variant]
        level_of_stride = {2 ** level: level for level in range(1, len(channels))}
        unknown = set(out_strides) - set(level_of_stride)
        if unknown or not out_strides:
            raise ValueError(
                f'out_strides = {out_strides} must be a choice of {tuple(level_of_stride)}.')
        self._out_levels = [level_of_stride[stride] for stride in out_strides]
        self.out_channels = [channels[level] for level in self._out_levels]
        self.out_strides = list(out_strides)
        self.base_layer = self._make_convs(3, channels[0], kernel=7)
        self.level0 = self._make_convs(channels[0], channels[0], depth=depths[0])
        self.level1 = self._make_convs(channels[0], channels[1], depth=depths[1], stride=2)
        for level in range(2, max(self._out_levels) + 1):
            self.add_module(f'level{level}', Tree(
                depths[level], block, channels[level - 1], channels[level], stride=2,
                level_root=level > 2, residual_root=residual_root))
        stages = max(self._out_levels) - 1
        if not -1 <= frozen_stages <= stages:
            raise UserError(f'frozen_stages = {frozen_stages} must lie in [-1, {stages}].')
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self._frozen: list[nn.Module] = []
        if frozen_stages >= 0:
            self._frozen = [self.base_layer, *self._levels()[:frozen_stages + 2]]
            freeze(self._frozen)
        self.register_load_state_dict_pre_hook(self._drop_unused)

    @staticmethod
    def _make_convs(
        in_channels: int, out_channels: int, kernel: int = 3, depth: int = 1, stride: int = 1
    ) -> nn.Sequential:
        layers: list[nn.Module] = []
        for number in range(depth):
            layers += _conv_bn(
                in_channels if number == 0 else out_channels, out_channels, kernel,
                stride if number == 0 else 1)
            layers.append(nn.ReLU(inplace=True))
        return nn.Sequential(*layers)

    @staticmethod
    def _drop_unused(
        module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        """Delete the published weights that this network does not have."""
        own = module.state_dict()
        for key in list(state_dict):
            name = key[len(prefix):]
            if not key.startswith(prefix) or name in own:
                continue
            level = name.split('.')[0]
            is_level = level in {f'level{number}' for number in range(len(WIDE))}
            if level == 'fc' or is_level and (
                    '.project.' in name or not hasattr(module, level)):
                del state_dict[key]

    def _levels(self) -> list[nn.Module]:
        """Return the levels, the finest first; level n works at stride 2^n."""
        return [self.get_submodule(f'level{number}')
                for number in range(max(self._out_levels) + 1)]

    def train(self, mode: bool = True) -> 'DLA':
        """Set the mode; frozen modules, and batch norms if ``norm_eval``, stay in eval mode."""
        super().train(mode)
        if mode:
            keep_in_eval_mode(self, self._frozen, self.norm_eval)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of images [B, 3, H, W], one map per stride of ``out_strides``."""
        features = []
        for layer in (self.base_layer, *self._levels()):
            x = checkpointed(layer, x) if self.with_cp else layer(x)
            features.append(x)
        return tuple(features[level + 1] for level in self._out_levels)
