"""Objects <-> peaks of the center heatmap."""
import math
from dataclasses import replace

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.boxes_3d import BOXES_3D_SOURCE, CAMERA_SOURCE, NEAREST
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Instances, Metas
from mmdet_centernet.models.properties.target import HeatmapTarget
from mmdet_centernet.ops.camera import box_centers, project
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
PEAK_CHOICES = ('box', 'center_3d')
OUTSIDE_CHOICES = ('drop', 'border')
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
        peak (str): where an object has its peak: ``'box'``, at the center of its 2D box, or
            ``'center_3d'``, at the projected center of its 3D box (MonoDLE, SMOKE), which lies
            on the object and where depth is defined. The offset of the 2D box is then measured
            from there. What is ignored keeps its place.
        outside (str): what becomes of objects whose projected 3D center is outside the map.
            ``'drop'``: they are background (MonoDLE). ``'border'``: their peak is where the
            line from the center of the 2D box leaves the map (MonoFlex). Objects whose center
            is less than 0.1 m in front of the camera are always dropped.

    Raises:
        ValueError: for an unknown choice, a stride below 1, or an option of another kind of
            heatmap.
        UserError: for ``outside='border'`` without ``peak='center_3d'``.
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
        peak: str = 'box',
        outside: str = 'drop',
    ) -> None:
        for name, value, choices in (
                ('heatmap', heatmap, tuple(HEATMAPS)),
                ('radius', radius, RADIUS_FORMULAS),
                ('shared_cells', shared_cells, SHARED_CELL_CHOICES),
                ('peak', peak, PEAK_CHOICES), ('outside', outside, OUTSIDE_CHOICES),
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
        if outside == 'border' and peak == 'box':
            raise UserError("outside = 'border' of the coder moves peaks at projected 3D centers, "
                            "but peaks are at those of 2D boxes: set peak='center_3d', or leave "
                            'outside out')
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
        self.peak = peak
        self.outside = outside

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
                ``labels`` [N_i]; ``bboxes_3d`` [N_i, 7] for peaks at 3D centers.
            batch_img_metas (list[dict]): ``homography_matrix`` tells rotated images;
                ``cam2img`` for peaks at 3D centers.
            shape (tuple[int, int, int, int]): (B, C, H, W) of the heatmap.
            batch_gt_instances_ignore (list[InstanceData], optional): ``bboxes``, ``labels``:
                the class that each is ignored for, -1 for every class.
        """
        points = None
        if self.peak == 'center_3d':
            points = _project_centers(batch_gt_instances, batch_img_metas)
        centers = self.locate(
            [instances.bboxes for instances in batch_gt_instances],
            [instances.labels for instances in batch_gt_instances], shape, points)
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
        self, bboxes: list[Tensor], labels: list[Tensor], shape: tuple[int, int, int, int],
        points: Tensor | None = None,
    ) -> Centers:
        """Return boxes of a batch in cells; see :meth:`encode`.

        ``points`` [N, 2], input pixels, are the peaks of all boxes if not their centers; boxes
        with NaN are not valid.
        """
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
        peak = center if points is None else self._peaks(center, points, shape)
        xy = peak.floor()
        # Comparisons with NaN are false, so NaN coordinates end here too. A box on the
        # far edge of the map can have its center on that edge, outside the last cell.
        valid = (wh > 0).all(dim=1) & (xy[:, 0] < width) & (xy[:, 1] < height)
        valid &= (xy >= 0).all(dim=1)
        valid &= (label >= 0) & (label < num_classes)
        wh = torch.where(valid[:, None], wh, 0.0)
        offset = torch.where(valid[:, None], center - xy, 0.0)
        place = torch.where(valid[:, None], peak - xy, 0.0)
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
            gaussians = self._gaussians(xy, wh, place)
            if max_radius is not None:
                zero = whole.new_zeros(1, 2)
                largest = self._gaussians(zero.long(), whole, zero)
                gaussians = gaussians._replace(max_half=int(largest.half.max()))
        gaussians = gaussians.only(valid)
        return Centers(
            image, torch.where(valid, label, 0), wh, xy, xy[:, 1] * width + xy[:, 0], offset,
            radius, gaussians, valid, valid, valid.to(wh.dtype), shape, self.stride, max_radius)

    def _gaussians(self, xy: Tensor, wh: Tensor, place: Tensor) -> Gaussians:
        """Return the Gaussians of ``'area'`` or ``'sides'``; see :class:`Centers`.

        ``place`` [N, 2] is the peak minus its cell, in [0, 1).
        """
        if self.heatmap == 'sides':
            half, shift = side_radii(wh, self.alpha), None
            falloff = 18 / (2 * half + 1) ** 2
        else:
            radius = area_radius(wh, self.min_overlap, self.min_radius / self.stride)[:, None]
            falloff = (1 / radius**2).expand(-1, 2)
            shift = place - 0.5
            # Beyond this distance and half a cell, values are below the least that is drawn.
            reach = (radius * math.sqrt(-math.log(MIN_VALUE)) + 0.5).ceil()
            half = reach.expand(-1, 2).long()
        return Gaussians(xy, half, falloff, shift)

    def _peaks(self, center: Tensor, points: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        """Return the peaks [N, 2] of objects, cells; see ``outside``.

        Args:
            center (Tensor[N, 2]): of the 2D boxes, cells.
            points (Tensor[N, 2]): projected 3D centers, input pixels.
            shape (tuple[int, int, int, int]): of the heatmap.
        """
        peaks = points.to(center) / self.stride
        if self.outside == 'drop':
            return peaks
        size = center.new_tensor([shape[3], shape[2]])
        step = peaks - center
        # The fraction of the way at which each coordinate leaves the map.
        room = torch.where(step > 0, size - center, center) / step.abs()
        way = torch.where(step == 0, 1.0, room).amin(dim=1, keepdim=True)
        inside = (peaks >= 0) & (peaks < size)
        return torch.where(
            inside.all(dim=1, keepdim=True), peaks,
            (center + way * step).clamp(min=0).minimum(size - 1))

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


def _project_centers(batch_gt_instances: Instances, batch_img_metas: Metas) -> Tensor:
    """Return the projected 3D centers [N, 2] of a batch, input pixels, float32.

    Those that are not in front of the camera are NaN.
    """
    for instances, meta in zip(batch_gt_instances, batch_img_metas, strict=True):
        for name, there, source in (
                ('bboxes_3d', 'bboxes_3d' in instances, BOXES_3D_SOURCE),
                ('cam2img', meta.get('cam2img') is not None, CAMERA_SOURCE)):
            if not there:
                raise UserError(f'{meta.get("img_path", "an image")} comes without {name}, which '
                                f'peaks at 3D centers need: {source}')
    centers = box_centers(torch.cat([each.bboxes_3d for each in batch_gt_instances]).float())
    cameras = torch.from_numpy(np.stack([
        np.asarray(meta['cam2img'], np.float64) for meta in batch_img_metas]))
    counts = torch.tensor([len(each) for each in batch_gt_instances])
    camera = cameras.repeat_interleave(counts, dim=0).to(centers)
    points = project(centers[:, None], camera)[:, 0]
    return torch.where(centers[:, 2:] > NEAREST, points, math.nan)
