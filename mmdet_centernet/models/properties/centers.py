"""Records of objects at their centers and of peaks: all that a property needs to know of them."""
from dataclasses import dataclass, field

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_centernet.models.properties.target import CellTarget
from mmdet_centernet.ops.heatmap import Gaussians, gather_cells


@dataclass
class Centers:
    """The objects of a batch at their cells: N objects of all images, in the order given."""

    images: Tensor  # [N] int64, image in the batch
    labels: Tensor  # [N] int64 in [0, C)
    wh: Tensor  # [N, 2] size of the box clipped to the map, cells
    xy: Tensor  # [N, 2] int64, cell of the peak
    cells: Tensor  # [N] int64, the same as y * W + x
    #: [N, 2] center of the box minus ``xy``, in [0, 1) unless the peak is somewhere else
    offset: Tensor
    radius: Tensor  # [N] int64, of CornerNet's Gaussian, cells
    gaussians: Gaussians  # on the center heatmap; those that are not valid are not drawn
    #: [N] bool, objects that are drawn on the heatmap. Without a positive size inside the map,
    #: labels, wh, xy, cells and offset are 0.
    valid: Tensor
    present: Tensor  # [N] bool, valid, or in an image whose boxes are not trusted
    weight: Tensor  # [N] 1 where regressions at the center are trained, else 0
    shape: tuple[int, int, int, int]  # (B, C, H, W) of the heatmap
    stride: int  # input pixels per cell
    max_radius: int | None  # bound of radius, so that none is read from the device; None on a CPU
    count: Tensor | None = None  # what regressions are averaged over; None: their own weights
    eps: float = 0.0  # added to their divisors
    inputs: dict[str, Tensor] = field(default_factory=dict)  # such as cam2img [B, 3, 4]

    def boxes(self) -> Tensor:
        """Return the objects' clipped boxes [N, 4], xyxy, cells; 0 if they are not valid."""
        center, half = self.xy + self.offset, self.wh / 2
        return torch.cat((center - half, center + half), dim=1)

    def cat(self, batch_gt_instances: list[InstanceData], name: str) -> Tensor:
        """Concatenate a field of the instances of all images, [N, ...]."""
        return torch.cat([instances[name] for instances in batch_gt_instances])

    def per_image(self, flags: list[bool]) -> Tensor:
        """Return each object's value [N] (bool) of flags that images have."""
        return torch.tensor(flags, device='cpu').to(self.images.device)[self.images]

    def at_centers(
        self, values: Tensor, weight: Tensor | None = None, channels: Tensor | None = None
    ) -> CellTarget:
        """Return a target at the objects' own cells; ``self.weight`` is the default weight."""
        weight = self.weight if weight is None else weight
        return CellTarget(self.images, self.cells, values, weight, self.count_of(weight),
                          self.eps, channels)

    def count_of(self, weight: Tensor) -> Tensor:
        """Return what a loss with these weights is averaged over, 0-d."""
        return weight.sum() if self.count is None else self.count


@dataclass
class Peaks:
    """The K best peaks of each heatmap of a batch, best first."""

    scores: Tensor  # [B, K] in [0, 1], exactly 0 where an image has fewer than K peaks
    labels: Tensor  # [B, K] int64
    cells: Tensor  # [B, K] int64 y * W + x
    xy: Tensor  # [B, K, 2] int64, the same cells
    stride: int  # input pixels per cell
    kernel: int  # side of the neighborhood that a peak dominates, cells
    inputs: dict[str, Tensor]  # per image, such as cam2img [B, 3, 4]

    def read(self, output: Tensor) -> Tensor:
        """Read an output [B, channels, H, W] at the peaks: [B, K, channels], float32."""
        return gather_cells(output, self.cells).float()

    def centers(self, outputs: dict[str, Tensor]) -> Tensor:
        """Return the objects' centers [B, K, 2], cells: in mid-cell without an offset branch."""
        return self.xy + (self.read(outputs['offset']) if 'offset' in outputs else 0.5)
