"""3D boxes <-> centre heat map, depth, dimensions, orientation, size, offset."""
import math
from typing import NamedTuple

import torch
from torch import Tensor

from ...ops.camera import alpha_to_rotation_y, box_centers, box_corners, project, unproject
from ...ops.heatmap import cell_positions, draw_sparse_heatmap, find_peaks, gather_cells
from ...ops.multi_bin import BinnedAngles, decode_angles, encode_angles
from ...registry import TASK_UTILS
from .box_coder import BoxTargets, CenterNetBoxCoder, Objects

IGNORE_CHOICES = ('center', 'region')
ANY_CLASS = -1
# What the original writes into a heat map where nothing is to be learnt: the loss of a cell has
# the factor (1 - 0.9999)^4.
IGNORED = 0.9999
# The original adds 1e-6 to the sigmoid of the depth, which bounds the depth at this; below, the
# depth itself is off by 4 mm at 60 m there.
MAX_DEPTH = 1e6
NEAREST = 0.1  # metres; what of a box is nearer, or behind the camera, is projected from there


class Mono3DTargets(NamedTuple):
    """What the network should put out for a batch of N objects.

    Attributes:
        boxes (BoxTargets): of the objects; its heat map has what is to be ignored too.
        ignored (Tensor[B, C, H, W] | None): bool, cells of the heat map that are not learnt, if
            it is regions that are ignored.
        depth (Tensor[N]): z of the centre, metres.
        dims (Tensor[N, 3]): height, width, length, metres.
        orientation (BinnedAngles): of the observation angles.
        location_offset (Tensor[N, 2]): xy of the projected centre of the 3D box less the cell of
            its object, cells.
        metric_weight (Tensor[N]): 1 where depth and dimensions are to be learnt, else 0.
    """

    boxes: BoxTargets
    ignored: Tensor | None
    depth: Tensor
    dims: Tensor
    orientation: BinnedAngles
    location_offset: Tensor
    metric_weight: Tensor


class Mono3DDetections(NamedTuple):
    """Decoded boxes of a batch, K per image, best first.

    Attributes:
        bboxes (Tensor[B, K, 4]): xyxy, input pixels.
        scores (Tensor[B, K]): in [0, 1], exactly 0 where an image has fewer than K peaks.
        labels (Tensor[B, K]): int64.
        bboxes_3d (Tensor[B, K, 7]): x, y, z of the bottom's centre, h, w, l, rotation_y; metres
            and radians in [-pi, pi), camera frame.
        alpha (Tensor[B, K]): observation angle, radians in [-pi, pi).
        depth (Tensor[B, K]): z of the centre, metres.
    """

    bboxes: Tensor
    scores: Tensor
    labels: Tensor
    bboxes_3d: Tensor
    alpha: Tensor
    depth: Tensor


@TASK_UTILS.register_module()
class CenterNetMono3DCoder(CenterNetBoxCoder):
    """Encodes 3D boxes of one camera and decodes them again (Objects as Points, Sec. 4.1).

    Args:
        stride, radius, min_overlap, shared_cells: see :class:`CenterNetBoxCoder`; the
            defaults are the original's. Unlike for boxes and poses, and as there, sizes are not
            rounded up for the radius.
        ignore (str): what is not learnt of objects to be ignored: ``'center'``, the cell of
            their centre, and around it as little as around an object's (the original's
            default); ``'region'``, every cell of their box (its ``rect_mask``). Centres of
            objects are learnt also there. (In the original a region that comes after an object
            wipes out its centre.)

    Raises:
        ValueError: for an unknown choice or a stride below 1.
    """

    rounds_sizes_up = False

    def __init__(
        self,
        stride: int = 4,
        radius: str = 'official',
        min_overlap: float = 0.7,
        shared_cells: str = 'all',
        ignore: str = 'center',
    ) -> None:
        super().__init__(stride, radius, min_overlap, shared_cells)
        if ignore not in IGNORE_CHOICES:
            raise ValueError(f"ignore = '{ignore}' must be one of {IGNORE_CHOICES}.")
        self.ignore = ignore

    @staticmethod
    def depth_of(output: Tensor) -> Tensor:
        """Depth, metres, of the network's raw output (Sec. 4.1): ``1 / sigmoid(x) - 1``, which
        is ``exp(-x)``; float32."""
        return (-output.float()).clamp(max=math.log(MAX_DEPTH)).exp()

    def encode(
        self,
        bboxes: list[Tensor],
        labels: list[Tensor],
        bboxes_3d: list[Tensor],
        alphas: list[Tensor],
        cam2img: Tensor,
        shape: tuple[int, int, int, int],
        ignored_bboxes: list[Tensor] | None = None,
        ignored_labels: list[Tensor] | None = None,
        augmented: list[bool] | None = None,
    ) -> Mono3DTargets:
        """Training targets of a batch.

        As in the original an object's place in the heat map is the centre of its 2D box, and
        the angle is the observation angle of the annotation.

        Args:
            bboxes, labels: see :meth:`CenterNetBoxCoder.encode`.
            bboxes_3d (list[Tensor[N_i, 7]]): per image, camera frame, see
                :mod:`mmdet_centernet.ops.camera`.
            alphas (list[Tensor[N_i]]): per image, observation angles, radians.
            cam2img (Tensor[B, 3, 4]): cameras of the network's input images.
            shape (tuple[int, int, int, int]): (B, C, H, W) of the heat map.
            ignored_bboxes (list[Tensor[M_i, 4]], optional): per image, input pixels, of what is
                to be ignored.
            ignored_labels (list[Tensor[M_i]], optional): the class that each is ignored for,
                -1 for every class.
            augmented (list[bool], optional): images that were scaled or shifted at random,
                whose objects' depths and dimensions are not learnt. None for none.

        Returns:
            Mono3DTargets: N = sum of N_i, in the order given.

        Raises:
            ValueError: if the lists do not have B entries.
        """
        objects = self.locate(bboxes, labels, shape)
        ignored = self._locate_ignored(ignored_bboxes, ignored_labels, shape)
        heatmap, mask = self._draw(objects, ignored, shape)
        weight = self.weigh(objects, shape)
        boxes = BoxTargets(
            heatmap, objects.wh, objects.offset, objects.images, objects.labels, objects.cells,
            weight)
        boxes_3d = torch.cat(bboxes_3d).float()
        # A box that the crop cuts off has no angle or depth worth looking at; some are NaN.
        boxes_3d = torch.where(objects.valid[:, None], boxes_3d, 1.0)
        centers = box_centers(boxes_3d)
        projected = project(centers[:, None], cam2img.to(boxes_3d)[objects.images])[:, 0]
        metric_weight = weight
        if augmented is not None and any(augmented):
            plain = ~torch.tensor(augmented)
            metric_weight = weight * plain.to(weight.device)[objects.images]
        angles = encode_angles(torch.where(objects.valid, torch.cat(alphas).float(), 0.0))
        return Mono3DTargets(
            boxes, mask, centers[:, 2], boxes_3d[:, 3:6], angles,
            projected / self.stride - objects.cell, metric_weight)

    def _locate_ignored(
        self,
        bboxes: list[Tensor] | None,
        labels: list[Tensor] | None,
        shape: tuple[int, int, int, int],
    ) -> Objects | None:
        """What is to be ignored, once for each class, not valid for the others."""
        if bboxes is None or labels is None or not any(map(len, bboxes)):
            return None
        num_classes = shape[1]
        classes = torch.arange(num_classes, device=labels[0].device)
        return self.locate(
            [boxes.repeat_interleave(num_classes, dim=0) for boxes in bboxes],
            [torch.where((label[:, None] == classes) | (label[:, None] == ANY_CLASS),
                         classes, -1).flatten() for label in labels],
            shape)

    def _draw(self, objects: Objects, ignored: Objects | None, shape):
        """The heat map [B, C, H, W] (sparse), and the cells of it that are not learnt."""
        num_classes, height, width = shape[1:]
        plane = objects.images * num_classes + objects.labels
        radius = torch.where(objects.valid, objects.radius, -1)
        bound = self.radius_bound(objects, shape)
        if ignored is None:
            return draw_sparse_heatmap(objects.cell, radius, plane, shape, bound), None
        ignored_plane = ignored.images * num_classes + ignored.labels
        # [B C H W]; what is not valid stands at the first cell and adds nothing.
        if self.ignore == 'center':
            mask = torch.zeros(math.prod(shape), dtype=torch.int32, device=plane.device)
            mask.index_add_(
                0, ignored_plane * (height * width) + ignored.cells, ignored.valid.int())
        else:
            mask = self._regions(ignored, ignored_plane, shape)
        is_center = torch.zeros_like(mask).index_add_(
            0, plane * (height * width) + objects.cells, objects.valid.int())
        mask = (mask > 0) & (is_center == 0)
        if self.ignore == 'region':
            return (draw_sparse_heatmap(objects.cell, radius, plane, shape, bound),
                    mask.view(shape))
        heatmap = draw_sparse_heatmap(
            torch.cat((objects.cell, ignored.cell)),
            torch.cat((radius, torch.where(ignored.valid, ignored.radius, -1))),
            torch.cat((plane, ignored_plane)), shape, bound)
        value = torch.where(mask[heatmap.positions], IGNORED, heatmap.value)
        return heatmap._replace(value=value), None

    @staticmethod
    def _regions(ignored: Objects, plane: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        """How many boxes each cell [B C H W] (flat) is in.

        Every box is written as four corners, of which sums along rows and columns make a box.
        """
        batch, num_classes, height, width = shape
        center = ignored.cell + ignored.offset
        left, top = (center - ignored.wh / 2).long().unbind(dim=1)
        # A box may end on the far edge of the map, outside the last cell.
        right, bottom = (center + ignored.wh / 2).long().unbind(dim=1)
        right, bottom = right.clamp(max=width - 1) + 1, bottom.clamp(max=height - 1) + 1
        corners = torch.zeros(
            (batch * num_classes, height + 1, width + 1), dtype=torch.int32, device=plane.device)
        there = ignored.valid.int()
        for y, x, sign in ((top, left, 1), (bottom, left, -1), (top, right, -1),
                           (bottom, right, 1)):
            corners.index_put_((plane, y, x), sign * there, accumulate=True)
        boxes = corners.cumsum(1, dtype=torch.int32).cumsum(2, dtype=torch.int32)
        return boxes[:, :-1, :-1].flatten()

    def decode(
        self,
        heatmap: Tensor,
        depth: Tensor,
        dims: Tensor,
        orientation: Tensor,
        cam2img: Tensor,
        wh: Tensor | None = None,
        offset: Tensor | None = None,
        location_offset: Tensor | None = None,
        topk: int = 100,
        local_maximum_kernel: int = 3,
    ) -> Mono3DDetections:
        """Boxes at the peaks of the heat map (Objects as Points, Sec. 4.1).

        A box is where the ray through its centre in the image has the predicted depth; as in the
        original that is the centre of the 2D box, unless ``location_offset`` tells a better
        place.

        Args:
            heatmap (Tensor[B, C, H, W]): logits.
            depth (Tensor[B, 1, H, W]): see :meth:`depth_of`.
            dims (Tensor[B, 3, H, W]): height, width, length, metres.
            orientation (Tensor[B, 8, H, W]): see :mod:`mmdet_centernet.ops.multi_bin`.
            cam2img (Tensor[B, 3, 4]): cameras of the network's input images.
            wh (Tensor[B, 2, H, W], optional): cells. Without it a 2D box is the one around the
                projected 3D box.
            offset (Tensor[B, 2, H, W], optional): cells. Without it a centre is in the middle
                of its cell.
            location_offset (Tensor[B, 2, H, W], optional): from a cell to the projected centre
                of the 3D box, cells.
            topk (int): detections per image, K.
            local_maximum_kernel (int): side of the neighbourhood that a peak dominates.

        Returns:
            Mono3DDetections: fewer than K if the map has fewer cells.
        """
        logits, cells, labels = find_peaks(heatmap, topk, local_maximum_kernel)
        cell = cell_positions(cells, heatmap.shape[-1])
        center = cell + (gather_cells(offset, cells).float() if offset is not None else 0.5)
        seen = center if location_offset is None else (
            cell + gather_cells(location_offset, cells).float())
        seen = seen * self.stride
        camera = cam2img.to(seen)
        metres = self.depth_of(gather_cells(depth, cells)[..., 0])
        size = gather_cells(dims, cells).float()
        location = unproject(seen, metres, camera)
        location[..., 1] += size[..., 0] / 2
        alpha = decode_angles(gather_cells(orientation, cells).float())
        rotation_y = alpha_to_rotation_y(alpha, seen[..., 0], camera)
        bboxes_3d = torch.cat((location, size, rotation_y[..., None]), dim=-1)
        if wh is None:
            bboxes = self._around(bboxes_3d, camera)
        else:
            half = gather_cells(wh, cells).float() / 2
            bboxes = torch.cat((center - half, center + half), dim=-1) * self.stride
        return Mono3DDetections(
            bboxes, logits.float().sigmoid(), labels, bboxes_3d, alpha, metres)

    @staticmethod
    def _around(bboxes_3d: Tensor, cam2img: Tensor) -> Tensor:
        """Boxes [B, K, 4] around projected 3D boxes [B, K, 7], input pixels."""
        corners = box_corners(bboxes_3d)
        corners[..., 2].clamp_(min=NEAREST)
        pixels = project(corners, cam2img[:, None])
        return torch.cat((pixels.amin(dim=-2), pixels.amax(dim=-2)), dim=-1)
