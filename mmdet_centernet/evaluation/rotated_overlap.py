"""Overlaps of pairs of boxes: in the image, turned on the ground, and in space.

Convention: the camera frame is KITTI's, x to the right, y down, z forward, metres. A box on the
ground is ``(x, z, w, l, rotation_y)``: its centre, its width and length, and its turn about the
y axis, 0 where its length lies along x, as ``ops.camera.box_corners`` has it. A box in space is
``(x, y, z, h, w, l, rotation_y)`` with the centre of its bottom. Rows of two arrays are pairs. A
box with a side that is not positive has no area and overlaps nothing.
"""
import numpy as np

# Corners of a box in halves of (l, w), against the clock where z points up.
_CORNER_X = np.array([1, -1, -1, 1])
_CORNER_Z = np.array([1, 1, -1, -1])
# Pairs at a time: what they need then stays in the processor's cache.
_CHUNK = 4096


def intersection_areas(first, second):
    """Areas that turned boxes on the ground share.

    The first box is brought into the frame of the second, where the second is upright. Pushing
    every point to the nearest one of the upright box leaves the shared part as it is and makes
    lines of the rest, so the first box's outline, pushed, goes around the shared area. It is a
    polygon with corners where the edges meet the four lines of the upright box. There is no case
    to distinguish, and the area is a continuous function of all coordinates: boxes that share
    edges or corners are no exceptions.

    Args:
        first, second (ndarray[N, 5]): (x, z, w, l, rotation_y), metres and radians.

    Returns:
        ndarray[N]: float64, square metres; 0 where nothing is shared.
    """
    first, second = (np.asarray(boxes, dtype=np.float64) for boxes in (first, second))
    # Beyond the sum of their half diagonals boxes cannot meet.
    reach = np.hypot(first[:, 2], first[:, 3]) + np.hypot(second[:, 2], second[:, 3])
    distance = np.hypot(first[:, 0] - second[:, 0], first[:, 1] - second[:, 1])
    sides = np.concatenate((first[:, 2:4], second[:, 2:4]), axis=1)
    near = np.flatnonzero((2 * distance < reach) & (sides > 0).all(axis=1))
    areas = np.zeros(len(first))
    for start in range(0, len(near), _CHUNK):
        chunk = near[start:start + _CHUNK]
        areas[chunk] = _clipped_areas(first[chunk], second[chunk])
    return areas


def _clipped_areas(first, second):
    """:func:`intersection_areas` of pairs [N, 5] with positive sides."""
    cos, sin = np.cos(second[:, 4]), np.sin(second[:, 4])
    dx, dz = first[:, 0] - second[:, 0], first[:, 1] - second[:, 1]
    center_x, center_z = cos * dx - sin * dz, sin * dx + cos * dz
    turn = first[:, 4] - second[:, 4]
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    along, across = first[:, 3:4] / 2 * _CORNER_X, first[:, 2:3] / 2 * _CORNER_Z
    x = center_x[:, None] + cos * along + sin * across  # [N, 4]
    z = center_z[:, None] + cos * across - sin * along
    step_x, step_z = np.roll(x, -1, axis=1) - x, np.roll(z, -1, axis=1) - z
    half_x, half_z = second[:, 3, None] / 2, second[:, 2, None] / 2
    # Where on its way, 0 to 1, each edge meets each line. An edge along a line meets it nowhere,
    # and a corner too many on an edge does no harm.
    with np.errstate(divide='ignore', invalid='ignore'):
        meets = np.stack([(-half_x - x) / step_x, (half_x - x) / step_x,
                          (-half_z - z) / step_z, (half_z - z) / step_z], axis=-1)
    meets = np.sort(np.clip(np.nan_to_num(meets), 0, 1), axis=-1)
    way = np.zeros((*x.shape, 5))  # the way's end is the beginning of the next edge
    way[..., 1:] = meets
    outline_x = (x[..., None] + way * step_x[..., None]).reshape(len(x), -1)  # [N, 20]
    outline_z = (z[..., None] + way * step_z[..., None]).reshape(len(z), -1)
    outline_x = np.clip(outline_x, -half_x, half_x)
    outline_z = np.clip(outline_z, -half_z, half_z)
    next_x, next_z = np.roll(outline_x, -1, axis=1), np.roll(outline_z, -1, axis=1)
    areas = ((outline_x + next_x) * (next_z - outline_z)).sum(axis=1) / 2
    return np.maximum(areas, 0)


def ground_boxes(boxes_3d):
    """What boxes in space [N, 7] stand on: [N, 5], (x, z, w, l, rotation_y)."""
    return np.asarray(boxes_3d)[:, [0, 2, 4, 5, 6]]


def bev_overlaps(first, second, shared=None):
    """Intersection over union from above.

    Args:
        first, second (ndarray[N, 7]): boxes in space.
        shared (ndarray[N], optional): their :func:`intersection_areas`, if known already.

    Returns:
        ndarray[N]: in [0, 1].
    """
    first, second = (np.asarray(boxes, dtype=np.float64) for boxes in (first, second))
    if shared is None:
        shared = intersection_areas(ground_boxes(first), ground_boxes(second))
    areas = [np.maximum(boxes[:, 4:6], 0).prod(axis=1) for boxes in (first, second)]
    return _over_union(shared, *areas)


def overlaps_3d(first, second, shared=None):
    """Intersection over union in space; arguments and result as of :func:`bev_overlaps`."""
    first, second = (np.asarray(boxes, dtype=np.float64) for boxes in (first, second))
    if shared is None:
        shared = intersection_areas(ground_boxes(first), ground_boxes(second))
    bottom = np.minimum(first[:, 1], second[:, 1])
    top = np.maximum(first[:, 1] - first[:, 3], second[:, 1] - second[:, 3])
    volumes = [np.maximum(boxes[:, 3:6], 0).prod(axis=1) for boxes in (first, second)]
    return _over_union(shared * np.maximum(bottom - top, 0), *volumes)


def image_overlaps(first, second):
    """Intersection over union of boxes in the image.

    Args:
        first, second (ndarray[N, 4]): xyxy, px; a side is the difference of coordinates.

    Returns:
        ndarray[N]: in [0, 1].
    """
    shared, area, other_area = _image_areas(first, second)
    return _over_union(shared, area, other_area)


def image_coverage(boxes, regions):
    """Part of each box's own area that lies in its region, which KITTI takes for DontCare.

    Args:
        boxes, regions (ndarray[N, 4]): xyxy, px.

    Returns:
        ndarray[N]: in [0, 1].
    """
    shared, area, _ = _image_areas(boxes, regions)
    return _ratio(shared, area)


def _image_areas(first, second):
    """Shared area and both areas of boxes [N, 4], px²."""
    first, second = (np.asarray(boxes, dtype=np.float64) for boxes in (first, second))
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    return tuple(np.maximum(each, 0).prod(axis=1) for each in (
        sides, first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]))


def _over_union(shared, area, other_area):
    return _ratio(shared, area + other_area - shared)


def _ratio(part, whole):
    return np.divide(part, whole, out=np.zeros_like(part), where=(part > 0) & (whole > 0))
