"""Objects <-> peaks of the center heatmap."""
import math
from dataclasses import replace

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Instances, Metas
from mmdet_centernet.models.properties.target import HeatmapTarget
from mmdet_centernet.ops.heatmap import (
    cell_positions,
    count_boxes,
    draw_sparse_heatmap,
    find_peaks,
    last_in_cells,
)
from mmdet_centernet.ops.radius import RADIUS_FORMULAS, gaussian_radius
from mmdet_centernet.registry import TASK_UTILS

SHARED_CELL_CHOICES = ('last', 'all')
IGNORE_CHOICES = ('center', 'region')
ANY_CLASS = -1


@TASK_UTILS.register_module()
class CenterCoder:
    """Coder that places objects on the center heatmap and finds its peaks.

    Input pixels become feature cells (``/ stride``) in :meth:`encode`; properties turn cells
    into pixels again when they decode.

    Args:
        stride (int): input pixels per cell.
        radius (str): formula of the Gaussians' radius, see
            :func:`mmdet_centernet.ops.radius.gaussian_radius`. ``'official'`` also clips boxes as
            the original implementation does, to ``[0, W - 1] x [0, H - 1]``; ``'corrected'``
            clips them to the edge of the map, ``[0, W] x [0, H]``.
        min_overlap (float): of that formula. The original's 0.7 belongs to ``'official'``,
            MMDetection's 0.3 to ``'corrected'``.
        round_up (bool): round sizes up to whole cells before an ``'official'`` radius is
            computed. The original does so for 2D boxes and poses, but not for 3D boxes.
        shared_cells (str): which of several objects whose centers share a cell train
            regressions: ``'last'`` (MMDetection) or ``'all'`` (the original). All are drawn.
        ignore (str, optional): what is masked of instances to be ignored: ``'center'``, the
            cell of their center, with a Gaussian around it as around an object (the
            original's default for KITTI); ``'region'``, every cell of their box (its
            ``rect_mask``). Centers of objects are trained there too. (In the original a region
            that comes after an object wipes out its center.) None: they are background.
        trust_rotated_boxes (bool): train heatmap and regressions at centers on images that were
            rotated. The original does not for poses: the box around a rotated box is too large.

    Raises:
        ValueError: for an unknown choice or a stride below 1.
    """

    def __init__(
        self,
        stride: int = 4,
        radius: str = 'corrected',
        min_overlap: float = 0.3,
        round_up: bool = True,
        shared_cells: str = 'last',
        ignore: str | None = None,
        trust_rotated_boxes: bool = True,
    ) -> None:
        for name, value, choices in (
                ('radius', radius, RADIUS_FORMULAS),
                ('shared_cells', shared_cells, SHARED_CELL_CHOICES),
                ('ignore', ignore, (*IGNORE_CHOICES, None))):
            if value not in choices:
                raise ValueError(f'{name} = {value!r} must be one of {choices}.')
        if stride < 1:
            raise ValueError(f'stride = {stride} must be at least 1 (input pixels per cell).')
        self.stride = stride
        self.radius = radius
        self.min_overlap = min_overlap
        self.round_up = round_up
        self.shared_cells = shared_cells
        self.ignore = ignore
        self.trust_rotated_boxes = trust_rotated_boxes

    def encode(
        self,
        batch_gt_instances: Instances,
        batch_img_metas: Metas,
        shape: tuple[int, int, int, int],
        batch_gt_instances_ignore: list[InstanceData | None] | None = None,
    ) -> tuple[Centers, HeatmapTarget]:
        """Encode the objects of a batch (Objects as Points, Sec. 3).

        A box without a positive size inside the map, with a coordinate that is not a number, or
        with a label that is not a class is not drawn and has weight 0. (Data sets count and
        name such boxes; nothing here may wait for the device.)

        Args:
            batch_gt_instances (list[InstanceData]): ``bboxes`` [N_i, 4] xyxy in input pixels,
                ``labels`` [N_i].
            batch_img_metas (list[dict]): ``homography_matrix`` tells rotated images.
            shape (tuple[int, int, int, int]): (B, C, H, W) of the heatmap.
            batch_gt_instances_ignore (list[InstanceData], optional): ``bboxes``, ``labels``:
                the class that each is ignored for, -1 for every class.
        """
        centers = self.locate([instances.bboxes for instances in batch_gt_instances],
                              [instances.labels for instances in batch_gt_instances], shape)
        rotated = [not self.trust_rotated_boxes and 'homography_matrix' in meta
                   and meta['homography_matrix'][0][1] != 0 for meta in batch_img_metas]
        if any(rotated):
            in_rotated = centers.per_image(rotated)
            centers.present = centers.valid | in_rotated
            centers.valid = centers.valid & ~in_rotated
        if self.shared_cells == 'last':
            area = shape[2] * shape[3]
            trained = last_in_cells(
                centers.images * area + centers.cells, shape[0] * area, centers.valid)
            centers.weight = (trained & centers.valid).to(centers.wh.dtype)
        else:
            centers.weight = centers.valid.to(centers.wh.dtype)
        target = self._draw(centers, self._locate_ignored(batch_gt_instances_ignore, shape))
        if any(rotated):
            mask = torch.tensor(rotated, device='cpu').to(centers.images.device)
            mask = mask[:, None, None, None]
            target = replace(
                target, ignored=mask if target.ignored is None else target.ignored | mask)
        return centers, target

    def locate(
        self, bboxes: list[Tensor], labels: list[Tensor], shape: tuple[int, int, int, int]
    ) -> Centers:
        """Return boxes of a batch in cells; see :meth:`encode`."""
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
        xy = center.floor()
        # Comparisons with NaN are false, so NaN coordinates end here too. A box on the
        # far edge of the map can have its center on that edge, outside the last cell.
        valid = (wh > 0).all(dim=1) & (xy[:, 0] < width) & (xy[:, 1] < height)
        valid &= (label >= 0) & (label < num_classes)
        wh = torch.where(valid[:, None], wh, 0.0)
        offset = torch.where(valid[:, None], center - xy, 0.0)
        xy = torch.where(valid[:, None], xy, 0.0).long()
        size = wh.ceil() if self.radius == 'official' and self.round_up else wh
        radius = gaussian_radius(size, self.radius, self.min_overlap).floor().clamp(min=0).long()
        max_radius = None
        if device.type != 'cpu':  # the radius of a box as large as the map
            whole = torch.tensor([[float(width), float(height)]])
            max_radius = math.ceil(float(gaussian_radius(whole, self.radius, self.min_overlap)))
        return Centers(
            image, torch.where(valid, label, 0), wh, xy, xy[:, 1] * width + xy[:, 0], offset,
            radius, valid, valid, valid.to(wh.dtype), shape, self.stride, max_radius)

    def _locate_ignored(
        self, instances: list[InstanceData | None] | None, shape: tuple[int, int, int, int]
    ) -> Centers | None:
        """Locate what is to be ignored, once for each class, not valid for the others."""
        given = [each for each in instances or () if each is not None and len(each)]
        if self.ignore is None or not given:
            return None
        classes = torch.arange(shape[1]).to(given[0].labels)
        bboxes, labels = [], []
        for each in instances or ():
            each = given[0][:0] if each is None else each
            label = each.labels[:, None]
            bboxes.append(each.bboxes.repeat_interleave(shape[1], dim=0))
            labels.append(torch.where(
                (label == classes) | (label == ANY_CLASS), classes, -1).flatten())
        return self.locate(bboxes, labels, shape)

    def _draw(self, centers: Centers, ignored: Centers | None) -> HeatmapTarget:
        """Draw the heatmap of a batch, and mask what is ignored."""
        shape, bound = centers.shape, centers.max_radius
        _, num_classes, height, width = shape
        plane = centers.images * num_classes + centers.labels
        xy, radius = centers.xy, torch.where(centers.valid, centers.radius, -1)
        if ignored is None:
            return HeatmapTarget(draw_sparse_heatmap(xy, radius, plane, shape, bound))
        ignored_plane = ignored.images * num_classes + ignored.labels
        # [B C H W]; what is not valid stands at the first cell and adds 0.
        if self.ignore == 'center':
            mask = torch.zeros(math.prod(shape), dtype=torch.int32, device=plane.device)
            mask.index_add_(
                0, ignored_plane * (height * width) + ignored.cells, ignored.valid.int())
            xy = torch.cat((xy, ignored.xy))
            radius = torch.cat((radius, torch.where(ignored.valid, ignored.radius, -1)))
        else:
            center = ignored.xy + ignored.offset
            mask = count_boxes(torch.cat((center - ignored.wh / 2, center + ignored.wh / 2), 1),
                               ignored_plane, ignored.valid, shape)
        is_center = torch.zeros_like(mask).index_add_(
            0, plane * (height * width) + centers.cells, centers.valid.int())
        mask = (mask > 0) & (is_center == 0)
        planes = torch.cat((plane, ignored_plane))[:len(xy)]
        heatmap = draw_sparse_heatmap(xy, radius, planes, shape, bound)
        value = torch.where(mask[heatmap.positions], 0.0, heatmap.value)
        return HeatmapTarget(heatmap._replace(value=value), mask.view(shape))

    def decode(
        self,
        heatmap: Tensor,
        topk: int = 100,
        kernel: int = 3,
        inputs: dict[str, Tensor] | None = None,
    ) -> Peaks:
        """Find the best ``topk`` peaks of heatmaps of logits [B, C, H, W]; see :class:`Peaks`.

        Logits are in the same order as probabilities; only those of the peaks are computed.
        """
        logits, cells, labels = find_peaks(heatmap, topk, kernel)
        return Peaks(logits.float().sigmoid(), labels, cells,
                     cell_positions(cells, heatmap.shape[-1]), self.stride, kernel, inputs or {})
