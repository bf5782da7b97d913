"""Poses <-> centre heat map, size, offset, joint displacement, joint heat map, joint offset."""
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
from ...registry import TASK_UTILS
from .box_coder import BoxTargets, CenterNetBoxCoder


class PoseTargets(NamedTuple):
    """What the network should put out for a batch of N objects with K joints each.

    Attributes:
        boxes (BoxTargets): of the objects; its heat map has only the images of ``upright``.
        upright (Tensor[U] | None): int64, images whose centres are learnt; None for all.
        displacement (Tensor[N, K, 2]): joint less the cell of its object's centre, cells.
        displacement_weight (Tensor[N, K]): 1 where it is to be learnt, else 0.
        dense_displacement (CellOwners | None): cells around centres where the displacement
            from there to the joint is learnt instead, each in proportion to its value:
            positions in the flattened [B, K, H, W], owners ``object * K + joint``.
        keypoint_heatmap (SparseHeatmap): [B, K, H, W], 1 at the joints.
        keypoint_cells (Tensor[N, K]): int64 ``y * W + x`` of the joints.
        keypoint_offset (Tensor[N, K, 2]): xy of the joint less its cell, in [0, 1).
        keypoint_weight (Tensor[N, K]): 1 where it is to be learnt, else 0.
    """

    boxes: BoxTargets
    upright: Tensor | None
    displacement: Tensor
    displacement_weight: Tensor
    dense_displacement: CellOwners | None
    keypoint_heatmap: SparseHeatmap
    keypoint_cells: Tensor
    keypoint_offset: Tensor
    keypoint_weight: Tensor


class PoseDetections(NamedTuple):
    """Decoded poses of a batch, N per image, best first.

    Attributes:
        bboxes (Tensor[B, N, 4]): xyxy, input pixels.
        scores (Tensor[B, N]): in [0, 1], exactly 0 where an image has fewer than N peaks.
        labels (Tensor[B, N]): int64.
        keypoints (Tensor[B, N, K, 2]): xy, input pixels.
        keypoint_scores (Tensor[B, N, K]): the score of the joint's peak, or that of the
            centre where the joint was regressed.
    """

    bboxes: Tensor
    scores: Tensor
    labels: Tensor
    keypoints: Tensor
    keypoint_scores: Tensor


@TASK_UTILS.register_module()
class CenterNetPoseCoder(CenterNetBoxCoder):
    """Encodes poses and decodes them again (Objects as Points, Sec. 4.2).

    Args:
        stride, radius, min_overlap, shared_cells: see :class:`CenterNetBoxCoder`; the
            defaults are the original's. Joints get Gaussians of their object's radius.
        dense_displacement (bool): displacements are learnt at every cell that a Gaussian of
            a centre reaches, from that cell; of several objects that have the joint the one
            with the largest Gaussian counts. (In the original also those that have it not,
            which leaves a target of 0 for the others there.)
        snap_score (float): joints snap to peaks of the joint heat map that score more.
        snap_distance (float): and that are at most this far from the regressed joint, in
            longer sides of the box.

    Raises:
        ValueError: for an unknown choice, a stride below 1 or a negative threshold.
    """

    def __init__(
        self,
        stride: int = 4,
        radius: str = 'official',
        min_overlap: float = 0.7,
        shared_cells: str = 'all',
        dense_displacement: bool = False,
        snap_score: float = 0.1,
        snap_distance: float = 0.3,
    ) -> None:
        super().__init__(stride, radius, min_overlap, shared_cells)
        if snap_score < 0 or snap_distance < 0:
            raise ValueError(f'snap_score = {snap_score} and snap_distance = {snap_distance} '
                             'must not be negative.')
        self.dense_displacement = dense_displacement
        self.snap_score = snap_score
        self.snap_distance = snap_distance

    def encode(
        self,
        bboxes: list[Tensor],
        labels: list[Tensor],
        keypoints: list[Tensor],
        keypoints_visible: list[Tensor],
        shape: tuple[int, int, int, int],
        rotated: list[bool] | None = None,
    ) -> PoseTargets:
        """Training targets of a batch.

        As the original has it: An object without any labelled joint is drawn as a centre, but
        neither its size nor its offset is learnt. A joint is learnt if it is labelled and
        inside the map. Of rotated images, whose boxes say nothing but the size of the joints'
        Gaussians, only joint heat map and joint offset are learnt. (The original writes
        0.9999 for the centre of an object without joints, and then draws 1 over it; and
        0.9999 everywhere for a rotated image, which costs less than 1e-15 per cell.)

        Args:
            bboxes, labels: see :meth:`CenterNetBoxCoder.encode`.
            keypoints (list[Tensor[N_i, K, 2]]): per image, xy, input pixels.
            keypoints_visible (list[Tensor[N_i, K]]): per image, more than 0 if labelled.
            shape (tuple[int, int, int, int]): (B, C, H, W) of the centre heat map.
            rotated (list[bool], optional): which images are; None for none.

        Returns:
            PoseTargets: N = sum of N_i, in the order given.

        Raises:
            ValueError: if the lists do not have B entries.
        """
        batch, num_classes, height, width = shape
        objects = self.locate(bboxes, labels, shape)
        points = torch.cat(keypoints).float() / self.stride
        labelled = torch.cat(keypoints_visible) > 0
        num_keypoints = points.shape[1]
        image, valid, bound = objects.images, objects.valid, self.radius_bound(objects, shape)

        upright, num_upright, learnt, drawn, plane = None, batch, valid, valid, image
        if rotated is not None and any(rotated):
            is_rotated = torch.tensor(rotated)
            upright = (~is_rotated).nonzero().flatten().to(image.device)
            num_upright = len(upright)
            plane = ((~is_rotated).cumsum(0) - 1).to(image.device)[image].clamp(min=0)
            is_rotated = is_rotated.to(image.device)[image]
            # A box that the crop cuts off entirely may still have joints in a rotated image.
            drawn = valid | is_rotated
            learnt = valid & ~is_rotated
        # Not even an object that is not drawn has a place in a heat map of no images.
        count = len(image) if num_upright else 0
        heatmap = draw_sparse_heatmap(
            objects.cell[:count], torch.where(learnt, objects.radius, -1)[:count],
            (plane * num_classes + objects.labels)[:count],
            (num_upright, num_classes, height, width), bound)
        weight = self.weigh(objects._replace(valid=learnt), shape)
        boxes = BoxTargets(
            heatmap, objects.wh, objects.offset, image, objects.labels, objects.cells,
            weight * labelled.any(dim=1))

        size = torch.tensor([width, height], device=points.device)
        inside = ((points >= 0) & (points < size)).all(dim=2) & labelled & drawn[:, None]
        points = torch.where(inside[..., None], points, 0.0)
        cell = points.long()
        plane = image[:, None] * num_keypoints + torch.arange(num_keypoints, device=image.device)
        plane = plane.flatten()
        keypoint_heatmap = draw_sparse_heatmap(
            cell.flatten(0, 1), torch.where(inside, objects.radius[:, None], -1).flatten(),
            plane, (batch, num_keypoints, height, width), bound)
        displacement_weight = inside * weight[:, None]
        dense = None
        if self.dense_displacement:
            dense = find_cell_owners(
                objects.cell.repeat_interleave(num_keypoints, dim=0),
                torch.where(displacement_weight > 0, objects.radius[:, None], -1).flatten(),
                plane, (height, width), bound)
        return PoseTargets(
            boxes, upright, points - objects.cell[:, None], displacement_weight, dense,
            keypoint_heatmap, cell[..., 1] * width + cell[..., 0], points - cell,
            inside.to(points.dtype))

    def decode(
        self,
        heatmap: Tensor,
        keypoint_displacement: Tensor,
        wh: Tensor | None = None,
        offset: Tensor | None = None,
        keypoint_heatmap: Tensor | None = None,
        keypoint_offset: Tensor | None = None,
        topk: int = 100,
        local_maximum_kernel: int = 3,
    ) -> PoseDetections:
        """Poses at the peaks of the heat map (Objects as Points, Sec. 4.2).

        A joint is where its displacement from the centre's cell says, unless the joint's heat
        map has a peak that scores more than ``snap_score``, is the nearest such one, inside
        the box, and near enough: then it is there. Several people may share a peak, as in the
        original. Memory is bounded by B N K P distances, P = ``topk`` peaks per joint.

        Args:
            heatmap (Tensor[B, C, H, W]): logits.
            keypoint_displacement (Tensor[B, 2 K, H, W]): cells; x and y of joint k are
                channels 2 k and 2 k + 1.
            wh (Tensor[B, 2, H, W], optional): cells. Without it a box is the one around the
                joints, and peaks need not be inside.
            offset (Tensor[B, 2, H, W], optional): cells. Without it a centre is in the middle
                of its cell.
            keypoint_heatmap (Tensor[B, K, H, W], optional): logits.
            keypoint_offset (Tensor[B, 2, H, W], optional): cells. Without it a joint's peak
                is in the middle of its cell.
            topk (int): detections per image, N, and peaks per joint; fewer if the map has
                fewer cells.
            local_maximum_kernel (int): side of the neighbourhood that a peak dominates.

        Returns:
            PoseDetections: fewer than N if the map has fewer cells.
        """
        logits, cells, labels = find_peaks(heatmap, topk, local_maximum_kernel)
        scores = logits.float().sigmoid()
        cell = cell_positions(cells, heatmap.shape[-1])
        displacement = gather_cells(keypoint_displacement, cells).float()
        keypoints = cell[:, :, None] + displacement.unflatten(-1, (-1, 2))
        if wh is None:
            boxes = _around(keypoints)
        else:
            center = cell + (gather_cells(offset, cells).float() if offset is not None else 0.5)
            half = gather_cells(wh, cells).float() / 2
            boxes = torch.cat((center - half, center + half), dim=-1)
        keypoint_scores = scores[..., None].expand(keypoints.shape[:-1])
        if keypoint_heatmap is not None:
            peaks, peak_scores = self._keypoint_peaks(
                keypoint_heatmap, keypoint_offset, topk, local_maximum_kernel)
            nearest, nearest_scores, near = self._nearest(keypoints, boxes, peaks, peak_scores)
            if wh is not None:
                near &= ((nearest >= boxes[:, :, None, :2]) & (
                    nearest <= boxes[:, :, None, 2:])).all(dim=-1)
            keypoints = torch.where(near[..., None], nearest, keypoints)
            keypoint_scores = torch.where(near, nearest_scores, keypoint_scores)
            if wh is None:
                boxes = _around(keypoints)
        return PoseDetections(
            boxes * self.stride, scores, labels, keypoints * self.stride, keypoint_scores)

    @staticmethod
    def _keypoint_peaks(
        heatmap: Tensor, offset: Tensor | None, topk: int, kernel: int
    ) -> tuple[Tensor, Tensor]:
        """Where the peaks of each joint are, [B, K, P, 2] cells, and their scores [B, K, P]."""
        batch, num_keypoints = heatmap.shape[:2]
        logits, cells, _ = find_peaks(heatmap.flatten(0, 1)[:, None], topk, kernel)
        cells = cells.unflatten(0, (batch, num_keypoints))
        peaks = cell_positions(cells, heatmap.shape[-1])
        if offset is None:
            peaks = peaks + 0.5
        else:
            peaks = peaks + gather_cells(offset, cells.flatten(1)).float().unflatten(
                1, (num_keypoints, -1))
        return peaks, logits.float().sigmoid().unflatten(0, (batch, num_keypoints))

    def _nearest(
        self, keypoints: Tensor, boxes: Tensor, peaks: Tensor, peak_scores: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The nearest peak of each joint that scores enough.

        Args:
            keypoints (Tensor[B, N, K, 2]): regressed, cells.
            boxes (Tensor[B, N, 4]): xyxy, cells.
            peaks (Tensor[B, K, P, 2]): cells.
            peak_scores (Tensor[B, K, P]): of these.

        Returns:
            tuple: the peaks [B, N, K, 2], their scores [B, N, K], and whether they are near
            enough [B, N, K].
        """
        joints = keypoints.transpose(1, 2)  # [B, K, N, 2]
        squared = (joints[..., None, 0] - peaks[:, :, None, :, 0]).square_()
        squared += (joints[..., None, 1] - peaks[:, :, None, :, 1]).square_()
        squared.masked_fill_((peak_scores <= self.snap_score)[:, :, None], float('inf'))
        squared, index = squared.min(dim=-1)  # [B, K, N]
        scores = peak_scores.gather(2, index).transpose(1, 2)
        nearest = peaks.gather(2, index[..., None].expand(-1, -1, -1, 2)).transpose(1, 2)
        longer = (boxes[..., 2:] - boxes[..., :2]).amax(dim=-1)
        near = squared.sqrt().transpose(1, 2) <= self.snap_distance * longer[..., None]
        return nearest, scores, near


def _around(keypoints: Tensor) -> Tensor:
    """Boxes [..., 4] around joints [..., K, 2]."""
    return torch.cat((keypoints.amin(dim=-2), keypoints.amax(dim=-2)), dim=-1)
