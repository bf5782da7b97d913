"""2D boxes: targets and detections, object by object.

Facts about the original implementation (xingyizhou/CenterNet, ctdet): radius formula without
leading coefficients, boxes clipped to the centers of the outer cells, an entry for every object,
divisor ``2 objects + 1e-4``. Positions are cells unless said otherwise.
"""
import math
from types import SimpleNamespace

import numpy as np

from reference.heatmap import draw_slowly, owners_slowly, peaks_slowly, radius_slowly

STRIDE = 4


def locate_slowly(box, size, formula='official', overlap=0.7, round_up=True):
    """Return where a box lies on a map.

    Args:
        box (Sequence[float]): xyxy.
        size (tuple[int, int]): H, W.
        formula, overlap: see :func:`radius_slowly`; ``'official'`` clips boxes to the centers of
            the outer cells.
        round_up (bool): sizes are rounded up for an ``'official'`` radius.

    Returns:
        SimpleNamespace: ``wh``, cell ``x`` and ``y`` of the center, ``offset``, ``radius``, and
        ``inside``, false for a box without a size inside the map.
    """
    height, width = size
    edge = 1 if formula == 'official' else 0
    x1, x2 = (min(max(v, 0), width - edge) for v in box[0::2])
    y1, y2 = (min(max(v, 0), height - edge) for v in box[1::2])
    w, h = x2 - x1, y2 - y1
    center = (x1 + x2) / 2, (y1 + y2) / 2
    x, y = int(center[0]), int(center[1])
    sides = (math.ceil(h), math.ceil(w)) if formula == 'official' and round_up else (h, w)
    return SimpleNamespace(
        wh=(w, h), x=x, y=y, offset=(center[0] - x, center[1] - y),
        radius=max(0, int(radius_slowly(*sides, formula, overlap))),
        inside=w > 0 and h > 0 and x < width and y < height)


def encode_slowly(images, shape, formula='official', overlap=0.7, shared_cells='all',
                  round_up=True):
    """Return the targets of a batch.

    Args:
        images (Sequence[Sequence[tuple]]): (label, box xyxy in px) of the objects of each image.
        shape (tuple[int, int, int, int]): B, C, H, W.
        formula, overlap, round_up: see :func:`locate_slowly`.
        shared_cells (str): ``'last'``: of several objects with one cell the last trains
            regressions; ``'all'``.

    Returns:
        SimpleNamespace: ``heatmap`` [B, C, H, W]; ``objects``, {number in the batch: entry of
        :func:`locate_slowly` with ``image`` and ``label``} of those that train regressions;
        ``owners``, for each image {(y, x): (value, entry)} of the cells that Gaussians reach.
    """
    heatmap, objects, owners = np.zeros(shape), {}, []
    number = 0
    for image, boxes in enumerate(images):
        drawn = []
        for label, box in boxes:
            entry = locate_slowly([v / STRIDE for v in box], shape[2:], formula, overlap, round_up)
            if entry.inside:
                entry.image, entry.label = image, label
                draw_slowly(heatmap[image, label], entry.x, entry.y, entry.radius)
                objects[number] = entry
                drawn.append(entry)
            number += 1
        cells = owners_slowly(
            [(entry.x, entry.y) for entry in drawn], [entry.radius for entry in drawn], shape[2:])
        owners.append({cell: (value, drawn[index]) for cell, (value, index) in cells.items()})
    if shared_cells == 'last':
        last = {(entry.image, entry.x, entry.y): number for number, entry in objects.items()}
        objects = {number: objects[number] for number in last.values()}
    return SimpleNamespace(heatmap=heatmap, objects=objects, owners=owners)


def center_slowly(output, x, y):
    """Return the center of the object at a cell; in mid-cell without an ``offset``."""
    dx, dy = output['offset'][:, y, x] if 'offset' in output else (0.5, 0.5)
    return float(x + dx), float(y + dy)


def box_slowly(output, x, y, first=0):
    """Return the box (xyxy) of the object at a cell; its size is channel ``first`` and the next
    one of ``wh``."""
    cx, cy = center_slowly(output, x, y)
    w, h = (float(v) for v in output['wh'][first:first + 2, y, x])
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def decode_slowly(output, count=None, per_class=False):
    """Return (score, label, box xyxy px) of the best peaks of one image, best first.

    Args:
        output (dict[str, ndarray[channels, H, W]]): ``heatmap`` as probabilities, ``wh``, and
            ``offset`` unless centers are in mid-cell.
        count (int, optional): detections; None: all peaks.
        per_class (bool): ``wh`` has a size for each class.
    """
    return [
        (score, label, [STRIDE * v for v in box_slowly(output, x, y, per_class * 2 * label)])
        for score, label, x, y in peaks_slowly(output['heatmap'])[:count]]
