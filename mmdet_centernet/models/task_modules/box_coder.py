"""2D boxes <-> centre heat map, size and offset."""
import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...ops.heatmap import (
    CellOwners,
    SparseHeatmap,
    cell_positions,
    draw_sparse_heatmap,
    find_cell_owners,
    find_peaks,
    gather_cells,
)
from ...ops.radius import RADIUS_FORMULAS, gaussian_radius
from ...registry import TASK_UTILS

SHARED_CELL_CHOICES = ('last', 'all')


class BoxTargets(NamedTuple):
    """What the network should put out for a batch; N is the number of its objects.

    Attributes:
        heatmap (SparseHeatmap): [B, C, H, W], 1 at the centres.
        wh (Tensor[N, 2]): box width and height, cells.
        offset (Tensor[N, 2]): xy of the centre less its cell, in [0, 1).
        images (Tensor[N]): int64, the object's image in the batch.
        labels (Tensor[N]): int64 in [0, C).
        cells (Tensor[N]): int64 ``y * W + x`` of its centre.
        weight (Tensor[N]): 1 where ``wh`` and ``offset`` are to be learnt, else 0.
        dense_wh (CellOwners | None): the cells around centres where ``wh`` of their owner is
            learnt too, each in proportion to its value.
    """

    heatmap: SparseHeatmap
    wh: Tensor
    offset: Tensor
    images: Tensor
    labels: Tensor
    cells: Tensor
    weight: Tensor
    dense_wh: CellOwners | None = None


class BoxDetections(NamedTuple):
    """Decoded boxes of a batch, K per image, best first.

    Attributes:
        bboxes (Tensor[B, K, 4]): xyxy, input pixels.
        scores (Tensor[B, K]): in [0, 1], exactly 0 where an image has fewer than K peaks.
        labels (Tensor[B, K]): int64.
    """

    bboxes: Tensor
    scores: Tensor
    labels: Tensor


class Objects(NamedTuple):
    """A batch's objects in cells, N of all images in the order given.

    Attributes:
        images (Tensor[N]): int64, the object's image in the batch.
        labels (Tensor[N]): int64 in [0, C).
        wh (Tensor[N, 2]): size of the box cut to the map.
        cell (Tensor[N, 2]): int64, xy of the cell of its centre.
        cells (Tensor[N]): int64 ``y * W + x`` of it.
        offset (Tensor[N, 2]): xy of the centre less its cell, in [0, 1).
        radius (Tensor[N]): int64, of the Gaussian.
        valid (Tensor[N]): bool; those that are not have ``wh``, ``cell``, ``cells``,
            ``offset`` and ``labels`` of 0.
    """

    images: Tensor
    labels: Tensor
    wh: Tensor
    cell: Tensor
    cells: Tensor
    offset: Tensor
    radius: Tensor
    valid: Tensor


@TASK_UTILS.register_module()
class CenterNetBoxCoder:
    """Encodes boxes into a centre heat map, sizes and offsets, and decodes them again.

    The only place where input pixels become feature cells (``/ stride``) and back.

    Args:
        stride (int): input pixels per cell.
        radius (str): formula of the Gaussians' radius, see
            :func:`mmdet_centernet.ops.radius.gaussian_radius`. ``'official'`` also takes
            over what the original does around it: boxes are clipped to the centres of the
            outer cells, ``[0, W - 1] x [0, H - 1]``, and sizes rounded up for the radius.
            ``'corrected'`` clips to the edge of the map, ``[0, W] x [0, H]``.
        min_overlap (float): of that formula. The original's 0.7 goes with ``'official'``,
            MMDetection's 0.3 with ``'corrected'``.
        shared_cells (str): what becomes of several centres in one cell of an image:
            ``'last'``, only the last one's size and offset are learnt (as in MMDetection);
            ``'all'``, each counts (as in the original). All are drawn into the heat map.
        dense_wh (bool): sizes are learnt at every cell that a Gaussian reaches, not at the
            centres alone; a cell's size is that of the object with the largest Gaussian
            there.

    Raises:
        ValueError: for an unknown choice or a stride below 1.
    """

    #: Whether ``'official'`` takes the radius of the size rounded up to whole cells.
    rounds_sizes_up = True

    def __init__(
        self,
        stride: int = 4,
        radius: str = 'corrected',
        min_overlap: float = 0.3,
        shared_cells: str = 'last',
        dense_wh: bool = False,
    ) -> None:
        if radius not in RADIUS_FORMULAS:
            raise ValueError(f"radius = '{radius}' must be one of {RADIUS_FORMULAS}.")
        if shared_cells not in SHARED_CELL_CHOICES:
            raise ValueError(
                f"shared_cells = '{shared_cells}' must be one of {SHARED_CELL_CHOICES}.")
        if stride < 1:
            raise ValueError(f'stride = {stride} must be at least 1 (input pixels per cell).')
        self.stride = stride
        self.radius = radius
        self.min_overlap = min_overlap
        self.shared_cells = shared_cells
        self.dense_wh = dense_wh

    def encode(
        self,
        bboxes: list[Tensor],
        labels: list[Tensor],
        shape: tuple[int, int, int, int],
    ) -> BoxTargets:
        """Training targets of a batch (Objects as Points, Sec. 3 and 4).

        A box without a positive size inside the map, or with a coordinate that is not a
        number, or with a label that is not a class, teaches nothing: it is not drawn and
        has weight 0. (Data sets count and name such boxes; here nothing may wait for the
        device.)

        Args:
            bboxes (list[Tensor[N_i, 4]]): per image, xyxy, input pixels.
            labels (list[Tensor[N_i]]): per image, int64 in [0, C).
            shape (tuple[int, int, int, int]): (B, C, H, W) of the heat map.

        Returns:
            BoxTargets: N = sum of N_i, in the order given.

        Raises:
            ValueError: if the lists do not have B entries.
        """
        batch, num_classes, height, width = shape
        objects = self.locate(bboxes, labels, shape)
        image, label, wh, cell, cells, offset, radius, valid = objects
        radius = torch.where(valid, radius, -1)
        bound = self.radius_bound(objects, shape)
        heatmap = draw_sparse_heatmap(cell, radius, image * num_classes + label, shape, bound)
        dense_wh = None
        if self.dense_wh:
            dense_wh = find_cell_owners(cell, radius, image, (height, width), bound)
        return BoxTargets(
            heatmap, wh, offset, image, label, cells, self.weigh(objects, shape), dense_wh)

    def locate(
        self,
        bboxes: list[Tensor],
        labels: list[Tensor],
        shape: tuple[int, int, int, int],
    ) -> Objects:
        """Boxes of a batch in cells; arguments and errors as of :meth:`encode`."""
        batch, num_classes, height, width = shape
        if not len(bboxes) == len(labels) == batch:
            raise ValueError(
                f'{len(bboxes)} lists of boxes and {len(labels)} of labels for a batch of '
                f'{batch} images.')
        counts = torch.tensor([len(boxes) for boxes in bboxes])
        label = torch.cat(labels)
        device = label.device
        image = torch.repeat_interleave(torch.arange(batch), counts).to(device)

        edge = 1 if self.radius == 'official' else 0
        upper = torch.tensor([width - edge, height - edge], device=device)
        corners = (torch.cat(bboxes).float() / self.stride).view(-1, 2, 2)
        corners = corners.clamp(min=0).minimum(upper.to(corners))
        wh = corners[:, 1] - corners[:, 0]
        center = corners.mean(dim=1)
        cell = center.floor()
        # Comparisons with NaN are false, so NaN coordinates end here too. A box on the
        # far edge of the map can have its centre on that edge, outside the last cell.
        valid = (wh > 0).all(dim=1) & (cell[:, 0] < width) & (cell[:, 1] < height)
        valid &= (label >= 0) & (label < num_classes)
        wh = torch.where(valid[:, None], wh, 0.0)
        offset = torch.where(valid[:, None], center - cell, 0.0)
        cell = torch.where(valid[:, None], cell, 0.0).long()
        size = wh.ceil() if self.radius == 'official' and self.rounds_sizes_up else wh
        radius = gaussian_radius(size, self.radius, self.min_overlap).floor().clamp(min=0).long()
        return Objects(
            image, torch.where(valid, label, 0), wh, cell, cell[:, 1] * width + cell[:, 0],
            offset, radius, valid)

    def radius_bound(
        self, objects: Objects, shape: tuple[int, int, int, int]
    ) -> int | None:
        """An upper bound of the radii where nothing may be read back from the device.

        It is the radius of a box as large as the map: no object has a larger one.
        """
        if objects.radius.device.type == 'cpu':
            return None
        size = torch.tensor([[float(shape[3]), float(shape[2])]])
        return math.ceil(float(gaussian_radius(size, self.radius, self.min_overlap)))

    def weigh(self, objects: Objects, shape: tuple[int, int, int, int]) -> Tensor:
        """1 for the objects whose size and offset are to be learnt, else 0: Tensor[N]."""
        valid = objects.valid
        if self.shared_cells == 'last':
            batch, _, height, width = shape
            valid = valid & self._is_last(
                objects.images * (height * width) + objects.cells, batch * height * width, valid)
        return valid.to(objects.wh.dtype)

    def decode(
        self,
        heatmap: Tensor,
        wh: Tensor,
        offset: Tensor,
        topk: int = 100,
        local_maximum_kernel: int = 3,
    ) -> BoxDetections:
        """Boxes at the peaks of the heat map (Objects as Points, Sec. 4).

        Args:
            heatmap (Tensor[B, C, H, W]): logits. Peaks are found on them, which are in the
                same order as the probabilities; only those of the peaks are computed.
            wh (Tensor[B, 2, H, W] | Tensor[B, 2 C, H, W]): width and height, cells, of any
                class or of each (those of class c are channels 2 c and 2 c + 1).
            offset (Tensor[B, 2, H, W]): xy, cells.
            topk (int): detections per image, K; fewer if the map has fewer cells.
            local_maximum_kernel (int): side of the neighbourhood that a peak dominates.

        Returns:
            BoxDetections: fewer than K if the map has fewer cells.
        """
        logits, cells, labels = find_peaks(heatmap, topk, local_maximum_kernel)
        center = cell_positions(cells, heatmap.shape[-1]) + gather_cells(offset, cells).float()
        size = gather_cells(wh, cells).float()
        if wh.shape[1] > 2:
            of_label = labels[..., None, None].expand(-1, -1, -1, 2)
            size = size.unflatten(-1, (-1, 2)).gather(2, of_label).squeeze(2)
        half = size / 2
        bboxes = torch.cat((center - half, center + half), dim=-1) * self.stride
        return BoxDetections(bboxes, logits.float().sigmoid(), labels)

    @staticmethod
    def _is_last(place: Tensor, num_places: int, valid: Tensor) -> Tensor:
        """Which valid objects are the last one at their place, [N] bool."""
        order = torch.arange(len(place), device=place.device)
        last = torch.full((num_places,), -1, device=place.device)
        last.scatter_reduce_(0, place, torch.where(valid, order, -1), 'amax')
        return last[place] == order
