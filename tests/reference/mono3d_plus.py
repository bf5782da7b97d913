"""The options of 3D boxes from later papers, object by object.

Facts: MonoDLE (peak, 2D box from there, bins, dimension-aware loss, Laplace loss), MonoFlex (peaks
of truncated objects), MonoCon (corners). Positions are cells unless said otherwise.
"""
import math
from types import SimpleNamespace

from reference.camera import corners_slowly, project_slowly, wrap_slowly
from reference.detection import STRIDE, locate_slowly

NEAREST = 0.1  # meters in front of the camera


def border_slowly(start, end, size):
    """Return the last cell inside the map on the way from ``start`` to ``end``, by bisection."""
    width, height = size
    low, high = 0.0, 1.0
    for _ in range(60):
        way = (low + high) / 2
        x, y = (a + way * (b - a) for a, b in zip(start, end))
        low, high = (way, high) if 0 <= x < width and 0 <= y < height else (low, way)
    x, y = (a + low * (b - a) for a, b in zip(start, end))
    return min(max(math.floor(x), 0), width - 1), min(max(math.floor(y), 0), height - 1)


def place_slowly(each, size, camera, outside):
    """Return the place of an object whose peak is at its projected 3D center.

    Args:
        each (SimpleNamespace): ``bbox`` (xyxy, px of the input), ``bbox_3d``.
        size (tuple[int, int]): H, W of the map.
        camera (ndarray[3, 4]): of the input.
        outside (str): ``'drop'`` or ``'border'``.

    Returns:
        SimpleNamespace | None: None for an object that is dropped; ``cell`` (x, y), ``wh``,
        ``radius``, ``offset`` (center of the 2D box minus the cell), ``location_offset``
        (projected 3D center minus the cell), ``corners`` (the same of each corner, None for one
        that is not in front of the camera).
    """
    box = locate_slowly([v / STRIDE for v in each.bbox], size, round_up=False)
    x, y, z, height = each.bbox_3d[:4]
    if not box.inside or z <= NEAREST:
        return None
    center = box.x + box.offset[0], box.y + box.offset[1]
    seen = tuple(v / STRIDE for v in project_slowly((x, y - height / 2, z), camera))
    cell = math.floor(seen[0]), math.floor(seen[1])
    if not (0 <= seen[0] < size[1] and 0 <= seen[1] < size[0]):
        if outside == 'drop':
            return None
        cell = border_slowly(center, seen, (size[1], size[0]))

    def from_cell(point):
        return point[0] - cell[0], point[1] - cell[1]

    corners = [None if corner[2] <= NEAREST else from_cell(
        [v / STRIDE for v in project_slowly(corner, camera)])
        for corner in corners_slowly(each.bbox_3d)]
    return SimpleNamespace(cell=cell, wh=box.wh, radius=box.radius, offset=from_cell(center),
                           location_offset=from_cell(seen), corners=corners)


def bin_slowly(angle, num_bins):
    """Return the bin whose center is nearest to an angle, and the angle from there."""
    centers = [2 * math.pi * index / num_bins for index in range(num_bins)]
    residuals = [wrap_slowly(angle - center) for center in centers]
    best = min(range(num_bins), key=lambda index: abs(residuals[index]))
    return best, residuals[best]


def bin_loss_slowly(channels, angle):
    """Return cross-entropy and residual loss of the 2 N channels of one object."""
    num_bins = len(channels) // 2
    best, residual = bin_slowly(angle, num_bins)
    total = math.log(sum(math.exp(value) for value in channels[:num_bins]))
    return total - channels[best], abs(channels[num_bins + best] - residual)


def laplace_slowly(depth, log_spread, true):
    """Return the loss of one depth."""
    return math.sqrt(2) * math.exp(-log_spread) * abs(depth - true) + log_spread


def dimension_aware_slowly(predicted, true, relative_to='target'):
    """Return the losses of the dimensions of several objects, which sum up as plain L1's do."""
    plain = [[abs(p - t) for p, t in zip(*pair)] for pair in zip(predicted, true)]
    bases = true if relative_to == 'target' else predicted
    scaled = [[error / base for error, base in zip(*pair)] for pair in zip(plain, bases)]
    factor = sum(map(sum, plain)) / sum(map(sum, scaled))
    return [[factor * value for value in row] for row in scaled]
