"""Training targets that carry their own positions, weights and normalizer."""
from dataclasses import dataclass

from torch import Tensor

from mmdet_centernet.ops.heatmap import SparseHeatmap


@dataclass(frozen=True)
class HeatmapTarget:
    """Target of a heatmap branch. Its loss is averaged over the cells that are exactly 1.

    Attributes:
        heatmap (SparseHeatmap): [B, C, H, W], 1 at the peaks.
        ignored (Tensor | None): bool, broadcasts to [B, C, H, W]: cells without a loss.
    """

    heatmap: SparseHeatmap
    ignored: Tensor | None = None

    @property
    def count(self) -> Tensor:
        """Number of cells that are exactly 1, 0-d."""
        return self.heatmap.num_peaks()


@dataclass(frozen=True)
class CellTarget:
    """Target of a regression at M cells. The loss of an entry may have several terms.

    ``loss = sum(weight * loss of entry) / (terms * max(count, 1) + eps)``

    Attributes:
        images (Tensor[M]): int64, image in the batch.
        cells (Tensor[M]): int64 ``y * W + x``.
        values (Tensor[M, ..., D]): the quantity, in its own unit.
        weight (Tensor[M, ...]): of each entry; with one more dimension than the entries, of
            each term of their losses.
        count (Tensor): number of entries that are averaged over, on this process: 0-d, or [T],
            one for each of T terms.
        eps (Tensor | float): added to the divisor, 0-d or [T].
        channels (Tensor[M, D] | None): int64, the branch's channels that each entry reads.
            None: all, shaped like ``values`` but for the last dimension.
    """

    images: Tensor
    cells: Tensor
    values: Tensor
    weight: Tensor
    count: Tensor
    eps: Tensor | float = 0.0
    channels: Tensor | None = None


Target = HeatmapTarget | CellTarget
