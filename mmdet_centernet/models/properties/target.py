"""Training targets that carry their own positions, weights and normalizer."""
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from mmdet_centernet.ops.heatmap import SparseHeatmap


class Positives(NamedTuple):
    """Cells that are positives of a heatmap's loss; a cell may be listed several times."""

    positions: Tensor  # [P] int64, in the flattened [B, C, H, W]
    weight: Tensor  # [P] of their losses, such as 1 or 0


@dataclass(frozen=True)
class HeatmapTarget:
    """Target of a heatmap branch. Its loss is averaged over the positives."""

    heatmap: SparseHeatmap  # [B, C, H, W], 1 at the peaks
    ignored: Tensor | None = None  # bool, broadcasts to [B, C, H, W]: cells without a loss
    positives: Positives | None = None  # None: the cells that are exactly 1

    @property
    def count(self) -> Tensor:
        """Number of positives, 0-d."""
        if self.positives is not None:
            return self.positives.weight.sum()
        return self.heatmap.num_peaks()


@dataclass(frozen=True)
class CellTarget:
    """Target of a regression at M cells. The loss of an entry may have several terms.

    ``loss = sum(weight * loss of entry) / (terms * max(count, 1) + eps)``
    """

    images: Tensor  # [M] int64, image in the batch
    cells: Tensor  # [M] int64 y * W + x
    values: Tensor  # [M, ..., D] the quantity, in its own unit
    weight: Tensor  # [M, ...] of entries; with one more dimension, of the terms of their losses
    count: Tensor  # entries that are averaged over, on this process: 0-d, or [T] for T terms
    eps: Tensor | float = 0.0  # added to the divisor, 0-d or [T]
    channels: Tensor | None = None  # [M, D] int64, channels that entries read; None: all


Target = HeatmapTarget | CellTarget
