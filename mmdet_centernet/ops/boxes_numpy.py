"""Overlaps and non-maximum suppression of 2D and 3D boxes in arrays.

Convention: a 2D box is ``(x1, y1, x2, y2)``, and a side is the difference of
coordinates. The camera frame is KITTI's, x to the right, y down, z forward, meters. A ground box
is ``(x, z, w, l, rotation_y)``: its center, its width and length, and its rotation about the y
axis, 0 if its length is along x, as in ``ops.camera.box_corners``. A 3D box is
``(x, y, z, h, w, l, rotation_y)`` with the center of its bottom. A box with a side that is not
positive has no area and overlaps nothing.

This module does not need torch; :mod:`mmdet_centernet.ops.boxes` is for tensors.
"""
from typing import Any

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[Any]
Floats = NDArray[np.floating[Any]]

# Corners of a box in halves of (l, w), counterclockwise if z points up.
_CORNER_X = np.array([1, -1, -1, 1])
_CORNER_Z = np.array([1, 1, -1, -1])
# Number of pairs processed at a time, so that the buffers stay in the cache.
_CHUNK = 4096


def box_overlaps(
        boxes: Boxes, others: Boxes, mode: str = 'iou', aligned: bool = False) -> Floats:
    """Return the overlap of boxes: intersection over union, or over the first box's area.

    Args:
        boxes (ndarray[N, 4]): x1, y1, x2, y2.
        others (ndarray[M, 4]): in the same unit; M = N if ``aligned``.
        mode (str): ``'iou'``, or ``'iof'`` for the fraction of the first box that is covered.
        aligned (bool): compare row by row instead of every pair.

    Returns:
        ndarray[N, M] or, if aligned, ndarray[N]: in [0, 1], in the boxes' precision; 0 for
        boxes without an area.

    Raises:
        ValueError: for an unknown mode.
    """
    if mode not in ('iou', 'iof'):
        raise ValueError(f"mode is {mode!r}; expected 'iou' or 'iof'.")
    # Integers become float64, half precision float32.
    dtype = np.result_type(boxes, others, np.float32)
    first, second = boxes.astype(dtype, copy=False), others.astype(dtype, copy=False)
    if not aligned:
        first = first[:, None]
    shared = _areas(np.maximum(first[..., :2], second[..., :2]),
                    np.minimum(first[..., 2:], second[..., 2:]))
    area = _areas(first[..., :2], first[..., 2:])
    if mode == 'iof':
        return _ratio(shared, area)
    return _over_union(shared, area, _areas(second[..., :2], second[..., 2:]))


def nms(boxes: Boxes, scores: Boxes, iou_threshold: float,
        labels: Boxes | None = None) -> NDArray[np.int64]:
    """Return the boxes that greedy non-maximum suppression keeps.

    A box is removed if it overlaps a kept box of higher score by strictly more than the
    threshold, which is compared in the boxes' precision. Equal scores keep the order of the
    input. All overlaps are in memory at once, which suits the few hundred peaks of an image.

    Args:
        boxes (ndarray[N, 4]): x1, y1, x2, y2.
        scores (ndarray[N]): higher is better.
        iou_threshold (float): in [0, 1].
        labels (ndarray[N], optional): classes; boxes of different classes do not affect each
            other.

    Returns:
        ndarray[K]: int64, indices of the kept boxes, by descending score.
    """
    order = np.argsort(-scores, kind='stable')
    ranked = boxes[order]
    suppresses = np.triu(box_overlaps(ranked, ranked) > iou_threshold, 1)
    if labels is not None:
        suppresses &= labels[order][:, None] == labels[order]
    keep = np.ones(len(order), bool)
    for index, worse in enumerate(suppresses):
        if keep[index]:
            keep &= ~worse
    return order[keep].astype(np.int64)


def intersection_areas(first: Boxes, second: Boxes) -> Floats:
    """Return the intersection areas of pairs of rotated ground boxes.

    The first box is transformed into the frame of the second, which is axis-aligned there.
    Clamping every point to the axis-aligned box leaves the intersection unchanged and collapses
    the rest to lines, so the clamped outline of the first box encloses the intersection. It is
    a polygon whose corners include the points where the edges meet the four lines of the
    axis-aligned box. There are no cases to distinguish, and the area is a continuous function
    of all coordinates, also for boxes that share edges or corners.

    Args:
        first, second (ndarray[N, 5]): (x, z, w, l, rotation_y), meters and radians.

    Returns:
        ndarray[N]: float64, square meters; 0 if the boxes do not intersect.
    """
    first, second = (np.asarray(boxes, dtype=np.float64) for boxes in (first, second))
    # Boxes farther apart than the sum of their half diagonals cannot intersect.
    reach = np.hypot(first[:, 2], first[:, 3]) + np.hypot(second[:, 2], second[:, 3])
    distance = np.hypot(first[:, 0] - second[:, 0], first[:, 1] - second[:, 1])
    sides = np.concatenate((first[:, 2:4], second[:, 2:4]), axis=1)
    near = np.flatnonzero((2 * distance < reach) & (sides > 0).all(axis=1))
    areas = np.zeros(len(first))
    for start in range(0, len(near), _CHUNK):
        chunk = near[start:start + _CHUNK]
        areas[chunk] = _clipped_areas(first[chunk], second[chunk])
    return areas


def _clipped_areas(first: Floats, second: Floats) -> Floats:
    """Return the intersection areas of pairs [N, 5] with positive sides."""
    cos, sin = np.cos(second[:, 4]), np.sin(second[:, 4])
    dx, dz = first[:, 0] - second[:, 0], first[:, 1] - second[:, 1]
    center_x, center_z = cos * dx - sin * dz, sin * dx + cos * dz
    rotation = first[:, 4] - second[:, 4]
    cos, sin = np.cos(rotation)[:, None], np.sin(rotation)[:, None]
    along, across = first[:, 3:4] / 2 * _CORNER_X, first[:, 2:3] / 2 * _CORNER_Z
    x = center_x[:, None] + cos * along + sin * across  # [N, 4]
    z = center_z[:, None] + cos * across - sin * along
    step_x, step_z = np.roll(x, -1, axis=1) - x, np.roll(z, -1, axis=1) - z
    half_x, half_z = second[:, 3, None] / 2, second[:, 2, None] / 2
    # Positions along each edge, from 0 to 1, where it meets each line. An edge along a line does
    # not meet it, and an extra corner on an edge does not matter.
    with np.errstate(divide='ignore', invalid='ignore'):
        meets = np.stack([(-half_x - x) / step_x, (half_x - x) / step_x,
                          (-half_z - z) / step_z, (half_z - z) / step_z], axis=-1)
    meets = np.sort(np.clip(np.nan_to_num(meets), 0, 1), axis=-1)
    way = np.zeros((*x.shape, 5))  # the end of an edge is the start of the next one
    way[..., 1:] = meets
    outline_x = (x[..., None] + way * step_x[..., None]).reshape(len(x), -1)  # [N, 20]
    outline_z = (z[..., None] + way * step_z[..., None]).reshape(len(z), -1)
    outline_x = np.clip(outline_x, -half_x, half_x)
    outline_z = np.clip(outline_z, -half_z, half_z)
    next_x, next_z = np.roll(outline_x, -1, axis=1), np.roll(outline_z, -1, axis=1)
    areas = ((outline_x + next_x) * (next_z - outline_z)).sum(axis=1) / 2
    positive: Floats = np.maximum(areas, 0)
    return positive


def ground_boxes(boxes_3d: Boxes) -> Boxes:
    """Return the ground boxes [N, 5] of 3D boxes [N, 7]."""
    return np.asarray(boxes_3d)[:, [0, 2, 4, 5, 6]]


def bev_overlaps(first: Boxes, second: Boxes, shared: Floats | None = None) -> Floats:
    """Return the bird's-eye view IoU of pairs of 3D boxes.

    Args:
        first, second (ndarray[N, 7]): 3D boxes.
        shared (ndarray[N], optional): their :func:`intersection_areas`, if already known.

    Returns:
        ndarray[N]: in [0, 1].
    """
    first, second = (np.asarray(boxes, dtype=np.float64) for boxes in (first, second))
    if shared is None:
        shared = intersection_areas(ground_boxes(first), ground_boxes(second))
    areas = [np.maximum(boxes[:, 4:6], 0).prod(axis=1) for boxes in (first, second)]
    return _over_union(shared, *areas)


def overlaps_3d(first: Boxes, second: Boxes, shared: Floats | None = None) -> Floats:
    """Return the IoU of pairs of 3D boxes; see :func:`bev_overlaps`."""
    first, second = (np.asarray(boxes, dtype=np.float64) for boxes in (first, second))
    if shared is None:
        shared = intersection_areas(ground_boxes(first), ground_boxes(second))
    bottom = np.minimum(first[:, 1], second[:, 1])
    top = np.maximum(first[:, 1] - first[:, 3], second[:, 1] - second[:, 3])
    volumes = [np.maximum(boxes[:, 3:6], 0).prod(axis=1) for boxes in (first, second)]
    return _over_union(shared * np.maximum(bottom - top, 0), *volumes)


def pairwise_bev_overlaps(boxes: Boxes, others: Boxes) -> Floats:
    """Return the bird's-eye view IoU of every pair of 3D boxes.

    Args:
        boxes (ndarray[N, 7]): 3D boxes.
        others (ndarray[M, 7]): 3D boxes.

    Returns:
        ndarray[N, M]: in [0, 1].
    """
    pairs = np.repeat(boxes, len(others), axis=0), np.tile(others, (len(boxes), 1))
    return bev_overlaps(*pairs).reshape(len(boxes), len(others))


def _areas(corner_min: Boxes, corner_max: Boxes) -> Floats:
    """Return the areas between corners [..., 2]; 0 if a side is not positive."""
    sides = np.maximum(corner_max - corner_min, 0)
    areas: Floats = sides[..., 0] * sides[..., 1]
    return areas


def _over_union(shared: Floats, area: Floats, other_area: Floats) -> Floats:
    return _ratio(shared, area + other_area - shared)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=(part > 0) & (whole > 0))
