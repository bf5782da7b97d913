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
    MIN_VALUE,
    Gaussians,
    cell_positions,
    count_boxes,
    draw_gaussians,
    find_peaks,
    last_in_cells,
)
from mmdet_centernet.ops.radius import (
    RADIUS_FORMULAS,
    area_radius,
    gaussian_radius,
    side_radii,
)
from mmdet_centernet.registry import TASK_UTILS

#: Kinds of center heatmaps -> default ``min_overlap``.
HEATMAPS = dict(corner=0.3, area=0.8, sides=0.3)
SHARED_CELL_CHOICES = ('last', 'all')
IGNORE_CHOICES = ('center', 'region')
ANY_CLASS = -1
DEFAULT_MIN_RADIUS = 4.0  # of CenterNet*, input pixels
DEFAULT_ALPHA = 0.54  # of TTFNet


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
        min_overlap (float, optional): of that formula, 0.3 by default. The original's 0.7
            belongs to ``'official'``, MMDetection's 0.3 to ``'corrected'``. Of ``'area'``, 0.8
            by default.
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
        heatmap (str): the Gaussians. ``'corner'``: a radius that CornerNet's formula gives for
            both axes (CenterNet). ``'area'``: a radius that grows with the square root of the
            area, around the exact center; the center's cell is 1 (CenterNet*, the one-stage
            model of CenterNet2). ``'sides'``: a radius for each axis, a fraction of the box's
            half side (TTFNet).
        min_radius (float): the least radius of ``'area'``, input pixels.
        alpha (float): the fraction of ``'sides'``.

    Raises:
        ValueError: for an unknown choice, a stride below 1, or an option of another kind of
            heatmap.
    """

    def __init__(
        self,
        stride: int = 4,
        radius: str = 'corrected',
        min_overlap: float | None = None,
        round_up: bool = True,
        shared_cells: str = 'last',
        ignore: str | None = None,
        trust_rotated_boxes: bool = True,
        heatmap: str = 'corner',
        min_radius: float | None = None,
        alpha: float | None = None,
    ) -> None:
        for name, value, choices in (
                ('heatmap', heatmap, tuple(HEATMAPS)),
                ('radius', radius, RADIUS_FORMULAS),
                ('shared_cells', shared_cells, SHARED_CELL_CHOICES),
                ('ignore', ignore, (*IGNORE_CHOICES, None))):
            if value not in choices:
                raise ValueError(f'{name} = {value!r} must be one of {choices}.')
        if stride < 1:
            raise ValueError(f'stride = {stride} must be at least 1 (input pixels per cell).')
        for name, given, kind in (('min_radius', min_radius, 'area'), ('alpha', alpha, 'sides')):
            if given is not None and heatmap != kind:
                raise ValueError(f"{name} belongs to heatmap='{kind}', but heatmap='{heatmap}'.")
        if min_overlap is not None and heatmap == 'sides':
            raise ValueError("min_overlap has no effect with heatmap='sides': set alpha.")
        if not 0 < (alpha or DEFAULT_ALPHA) <= 1:
            raise ValueError(f'alpha = {alpha} must lie in (0, 1].')
        self.stride = stride
        self.heatmap = heatmap
        self.radius = radius
        self.min_overlap = HEATMAPS[heatmap] if min_overlap is None else min_overlap
        self.min_radius = DEFAULT_MIN_RADIUS if min_radius is None else min_radius
        self.alpha = alpha or DEFAULT_ALPHA
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
            centers.gaussians = centers.gaussians.only(centers.valid)
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
        size = wh.ceil() if self.radius == 'official' and self.round_up else wh
        xy = torch.where(valid[:, None], xy, 0.0).long()
        overlap = self.min_overlap if self.heatmap == 'corner' else HEATMAPS['corner']
        radius = gaussian_radius(size, self.radius, overlap).floor().clamp(min=0).long()
        max_radius = None
        whole = torch.tensor([[float(width), float(height)]])
        if device.type != 'cpu':  # the radius of a box as large as the map
            max_radius = math.ceil(float(gaussian_radius(whole, self.radius, overlap)))
        if self.heatmap == 'corner':
            gaussians = Gaussians.of_radius(xy, radius, max_radius)
        else:
            gaussians = self._gaussians(xy, wh, offset)
            if max_radius is not None:
                zero = whole.new_zeros(1, 2)
                largest = self._gaussians(zero.long(), whole, zero)
                gaussians = gaussians._replace(max_half=int(largest.half.max()))
        gaussians = gaussians.only(valid)
        return Centers(
            image, torch.where(valid, label, 0), wh, xy, xy[:, 1] * width + xy[:, 0], offset,
            radius, gaussians, valid, valid, valid.to(wh.dtype), shape, self.stride, max_radius)

    def _gaussians(self, xy: Tensor, wh: Tensor, offset: Tensor) -> Gaussians:
        """Return the Gaussians of ``'area'`` or ``'sides'``; see :class:`Centers`."""
        if self.heatmap == 'sides':
            half, shift = side_radii(wh, self.alpha), None
            falloff = 18 / (2 * half + 1) ** 2
        else:
            radius = area_radius(wh, self.min_overlap, self.min_radius / self.stride)[:, None]
            falloff = (1 / radius**2).expand(-1, 2)
            shift = offset - 0.5
            # Beyond this distance and half a cell, values are below the least that is drawn.
            reach = (radius * math.sqrt(-math.log(MIN_VALUE)) + 0.5).ceil()
            half = reach.expand(-1, 2).long()
        return Gaussians(xy, half, falloff, shift)

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
        shape = centers.shape
        _, num_classes, height, width = shape
        plane, gaussians = centers.images * num_classes + centers.labels, centers.gaussians
        if ignored is None:
            return HeatmapTarget(draw_gaussians(gaussians, plane, shape))
        ignored_plane = ignored.images * num_classes + ignored.labels
        # [B C H W]; what is not valid stands at the first cell and adds 0.
        if self.ignore == 'center':
            mask = torch.zeros(math.prod(shape), dtype=torch.int32, device=plane.device)
            mask.index_add_(
                0, ignored_plane * (height * width) + ignored.cells, ignored.valid.int())
            gaussians = gaussians.cat(ignored.gaussians)
        else:
            center = ignored.xy + ignored.offset
            mask = count_boxes(torch.cat((center - ignored.wh / 2, center + ignored.wh / 2), 1),
                               ignored_plane, ignored.valid, shape)
        is_center = torch.zeros_like(mask).index_add_(
            0, plane * (height * width) + centers.cells, centers.valid.int())
        mask = (mask > 0) & (is_center == 0)
        planes = torch.cat((plane, ignored_plane))[:len(gaussians.centers)]
        heatmap = draw_gaussians(gaussians, planes, shape)
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
