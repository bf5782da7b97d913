"""Heatmaps, cell by cell: radii, Gaussians, peaks, the focal loss."""
import math

import torch


def radius_slowly(height, width, formula='official', overlap=0.7):
    """Return the radius of a box's Gaussian, not rounded (CornerNet, Sec. 3.2).

    Args:
        height, width (float): of the box.
        formula (str): ``'corrected'``, the roots of the three quadratic equations;
            ``'official'``, the original implementation's, which always adds the square root and
            leaves out the leading coefficient.
        overlap (float): IoU that the shifted box keeps.
    """
    total, area = height + width, height * width
    roots = []
    for number, (a, b, c) in enumerate((
        (1, total, area * (1 - overlap) / (1 + overlap)),
        (4, 2 * total, area * (1 - overlap)),
        (4 * overlap, -2 * overlap * total, area * (overlap - 1)),
    )):
        root = math.sqrt(max(b * b - 4 * a * c, 0))
        if formula == 'official':
            roots.append((b + root) / 2)
        else:
            roots.append((b + (root if number == 2 else -root)) / (2 * a))
    return min(roots)


def gaussian_slowly(x, y, center, radius):
    """Return the value at (x, y) of the Gaussian around a center; 0 beyond its radius."""
    dx, dy = x - center[0], y - center[1]
    if max(abs(dx), abs(dy)) > radius:
        return 0.0
    sigma = (2 * radius + 1) / 6
    return math.exp(-(dx**2 + dy**2) / (2 * sigma**2))


def draw_slowly(plane, x, y, radius):
    """Draw a Gaussian into a map [H, W] (an array or a tensor); the larger value stays."""
    height, width = plane.shape
    for row in range(max(0, y - radius), min(height, y + radius + 1)):
        for column in range(max(0, x - radius), min(width, x + radius + 1)):
            value = gaussian_slowly(column, row, (x, y), radius)
            plane[row, column] = max(float(plane[row, column]), value)


def owners_slowly(centers, radii, size):
    """Return {(y, x): (value, index)} of the cells that Gaussians reach in one image.

    The index is that of the object whose Gaussian is largest there, the last of equal ones.

    Args:
        centers (Sequence[tuple[int, int]]): x, y in cells.
        radii (Sequence[int]): cells; an object of radius -1 reaches none.
        size (tuple[int, int]): H, W.
    """
    found = {}
    for index, ((cx, cy), radius) in enumerate(zip(centers, radii, strict=True)):
        for y in range(max(0, cy - radius), min(size[0], cy + radius + 1)):
            for x in range(max(0, cx - radius), min(size[1], cx + radius + 1)):
                value = gaussian_slowly(x, y, (cx, cy), radius)
                if value >= found.get((y, x), (0, 0))[0] - 1e-9:
                    found[y, x] = value, index
    return found


def peaks_slowly(heatmap, kernel=3):
    """Return (score, label, x, y) of the cells that no neighbor exceeds, best first.

    Args:
        heatmap (array[C, H, W]): scores, or a tensor.
        kernel (int): side of the neighborhood.
    """
    classes, height, width = heatmap.shape
    half, found = kernel // 2, []
    for label in range(classes):
        for y in range(height):
            for x in range(width):
                around = heatmap[
                    label, max(y - half, 0):y + half + 1, max(x - half, 0):x + half + 1]
                if heatmap[label, y, x] >= around.max():
                    found.append((float(heatmap[label, y, x]), label, x, y))
    return sorted(found, key=lambda peak: -peak[0])


def focal_slowly(logits, target, alpha=2.0, gamma=4.0, min_probability=0.0):
    """Return the sum of Objects as Points, eq. 1, as it stands there; with a gradient.

    Args:
        logits, target (Tensor[...]): of the same shape.
        alpha, gamma (float): exponents.
        min_probability (float): probabilities are clamped to [min_probability,
            1 - min_probability], to 1e-4 in the original implementation.
    """
    p, y = logits.double().sigmoid(), torch.as_tensor(target).double()
    if min_probability:
        p = p.clamp(min_probability, 1 - min_probability)
    positive = (1 - p) ** alpha * torch.log(p)
    negative = (1 - y) ** gamma * p**alpha * torch.log(1 - p)
    return -torch.where(y == 1, positive, negative).sum()


def mean_focal_slowly(logits, target, min_probability=1e-4):
    """Return the focal loss averaged over the ones of the target, at least 1."""
    ones = int((torch.as_tensor(target) == 1).sum())
    return focal_slowly(logits, target, min_probability=min_probability) / max(ones, 1)


def nearest_peaks_slowly(point, peaks, min_score):
    """Return (distance, index) of the nearest of ``peaks`` [(x, y, score)] that scores more than
    a threshold, None if there is none."""
    found = [(math.hypot(point[0] - x, point[1] - y), index)
             for index, (x, y, score) in enumerate(peaks) if score > min_score]
    return min(found, default=None)
