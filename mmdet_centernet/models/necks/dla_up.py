"""Iterative deep aggregation, which fuses a feature pyramid into its finest map."""
from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_centernet.models.necks.conv import conv_bn_relu, reset_plain
from mmdet_centernet.models.necks.features import check_channels, check_sizes, require_inputs
from mmdet_centernet.models.necks.upsample import fill_bilinear
from mmdet_centernet.registry import MODELS


class IDAUp(nn.Module):
    """Iterative deep aggregation (Deep Layer Aggregation, arXiv:1707.06484, Sec. 3.1).

    It fuses maps of falling resolution, one after another: map i is projected, upsampled to map
    0's stride, added to the result so far and passed through a node.

    Args:
        in_channels (Sequence[int]): channels of the maps, finest first.
        channels (int): channels of the result.
        factors (Sequence[int]): ratio of each map's stride to the first one's; the first is 1.
        use_dcn (bool): use deformable 3x3 convolutions (DCNv2) instead of plain ones.
        conv_bias (bool): give the 3x3 convolutions a bias.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        factors: Sequence[int],
        use_dcn: bool,
        conv_bias: bool,
    ) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            conv_bn_relu(before, channels, use_dcn, conv_bias) for before in in_channels[1:])
        self.nodes = nn.ModuleList(
            conv_bn_relu(channels, channels, use_dcn, conv_bias) for _ in in_channels[1:])
        self.upsamples = nn.ModuleList(
            nn.ConvTranspose2d(
                channels, channels, 2 * factor, stride=factor, padding=factor // 2,
                groups=channels, bias=False)
            for factor in factors[1:]
        )

    def init_weights(self) -> None:
        """Start deconvolutions as bilinear upsampling, plain convolutions as PyTorch does."""
        for upsample in self.upsamples:
            fill_bilinear(upsample)  # type: ignore[arg-type]
        for layer in (*self.projections, *self.nodes):
            reset_plain(layer)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Fuse the maps and return every intermediate result.

        There are as many results as maps: ``maps[0]``, its fusion with ``maps[1]``, the fusion
        of that with ``maps[2]``, and so on.
        """
        results = [maps[0]]
        for coarse, project, upsample, node in zip(
            maps[1:], self.projections, self.upsamples, self.nodes, strict=True
        ):
            height, width = maps[0].shape[-2:]
            fine = upsample(project(coarse))[..., :height, :width]  # odd sizes round up
            results.append(node(fine + results[-1]))
        return results


@MODELS.register_module()
class DLAUp(BaseModule):
    """Pyramid neck by iterative deep aggregation (Objects as Points, Sec. 5, "DLA").

    Each round fuses the two, three, ... coarsest maps into the finest of them and keeps its
    best map. A last aggregation fuses the maps of all rounds into the finest stride.

    Args:
        in_channels (Sequence[int], optional): channels of the backbone's features, finest
            first. With None, the detector :class:`CenterNet` reads them from its backbone.
        in_strides (Sequence[int], optional): their strides, each a power of two times the
            previous one; None as above.
        channels (Sequence[int], optional): widths of the aggregation, to which 1x1 convolutions
            project the features first. By default the aggregation has the features' own
            widths, as with the paper's DLA-34.
        use_dcn (bool): use deformable 3x3 convolutions (DCNv2) instead of plain ones.
        conv_bias (bool): give the 3x3 convolutions a bias. The batch norm behind them cancels
            it, but the original's weights have it.
        init_cfg (dict, optional): mmengine initialization.

    Raises:
        ValueError: if the sequences differ in length or have fewer than two entries.
    """

    def __init__(
        self,
        in_channels: Sequence[int] | None,
        in_strides: Sequence[int] | None,
        channels: Sequence[int] | None = None,
        use_dcn: bool = True,
        conv_bias: bool = False,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        require_inputs('DLAUp', in_channels=in_channels, in_strides=in_strides)
        assert in_channels is not None and in_strides is not None
        widths = list(channels or in_channels)
        if not len(in_channels) == len(in_strides) == len(widths) >= 2:
            raise ValueError(
                f'in_channels = {in_channels}, in_strides = {in_strides} and channels = '
                f'{channels} must have one entry per feature map, at least two.')
        ratios = [coarse / fine for fine, coarse in zip(in_strides, in_strides[1:])]
        if not all(ratio >= 2 and ratio.is_integer() and ratio % 2 == 0 for ratio in ratios):
            raise ValueError(
                f'in_strides = {in_strides}: each must be an even multiple of the previous one.')
        self.in_channels = tuple(in_channels)
        self.in_strides = tuple(in_strides)
        self.inputs = nn.ModuleList(
            ConvModule(before, after, 1, norm_cfg=dict(type='BN'))
            for before, after in zip(in_channels, channels or (), strict=False)
        )
        self.fuse = IDAUp(
            widths[:-1], widths[0],
            [stride // in_strides[0] for stride in in_strides[:-1]], use_dcn, conv_bias)
        strides = list(in_strides)
        rounds = []
        for start in range(len(widths) - 2, -1, -1):
            factors = [stride // strides[start] for stride in strides[start:]]
            rounds.append(
                IDAUp(widths[start:], widths[start], factors, use_dcn, conv_bias))
            # The fused maps have the width and stride of the round's finest map from now on.
            widths[start + 1:] = [widths[start]] * (len(widths) - start - 1)
            strides[start + 1:] = [strides[start]] * (len(strides) - start - 1)
        self.rounds = nn.ModuleList(rounds)

    def init_weights(self) -> None:
        """Start deconvolutions as bilinear upsampling."""
        super().init_weights()
        for aggregation in (*self.rounds, self.fuse):
            aggregation.init_weights()

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor]:
        """Fuse features, finest first, into one map of the finest one's stride and width.

        Raises:
            UserError: if their number, channels or sizes differ from the neck's.
        """
        check_channels(features, self.in_channels, 'DLAUp')
        check_sizes(features, self.in_strides, 'DLAUp')
        maps = list(features)
        if self.inputs:
            maps = [project(x) for project, x in zip(self.inputs, maps, strict=True)]
        best: list[Tensor] = []
        aggregation: IDAUp
        for aggregation in self.rounds:  # type: ignore[assignment]
            start = len(maps) - 1 - len(aggregation.nodes)
            maps[start:] = aggregation(maps[start:])
            best.insert(0, maps[-1])
        return (self.fuse(best)[-1],)
