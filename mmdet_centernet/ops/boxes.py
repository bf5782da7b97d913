"""Overlaps of boxes, non-maximum suppression and Soft-NMS (Bodla et al. 2017, arXiv:1704.04503).

Boxes are ``(x1, y1, x2, y2)`` in a common unit. ``offset`` is added to the lengths of the sides:
0 for continuous coordinates, 1 for inclusive pixel indices.
:mod:`mmdet_centernet.ops.boxes_numpy` is for arrays and for 3D boxes.
"""
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# All overlaps of a block are in memory at once: 4 MiB for a float matrix.
BLOCK_SIZE = 1024
METHODS = ('naive', 'linear', 'gaussian')

# Rows of the table of candidates. Overlaps are computed from the first five.
X1, Y1, X2, Y2, AREA, SCORE = range(6)
Table = NDArray[Any]


def _computable(boxes: Tensor) -> Tensor:
    """Convert half precision and integers, which cannot hold areas of boxes, to float32."""
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def box_overlaps(
        boxes1: Tensor,
        boxes2: Tensor,
        mode: str = 'iou',
        aligned: bool = False,
        offset: float = 0) -> Tensor:
    """Return the overlap of boxes: intersection over union, or over the first box's area.

    Args:
        boxes1 (Tensor[M, 4]): x1, y1, x2, y2.
        boxes2 (Tensor[N, 4]): in the same unit; M = N if ``aligned``.
        mode (str): ``'iou'``, or ``'iof'`` for the fraction of the first box that is covered.
        aligned (bool): compare row by row instead of every pair.
        offset (float): added to the lengths of the sides.

    Returns:
        Tensor[M, N] or, if aligned, Tensor[M]: in [0, 1]; NaN where the divisor is zero.

    Raises:
        ValueError: for an unknown mode, or unequal numbers of aligned boxes.
    """
    if mode not in ('iou', 'iof'):
        raise ValueError(f"mode is {mode!r}; expected 'iou' or 'iof'.")
    boxes1, boxes2 = _computable(boxes1.reshape(-1, 4)), _computable(boxes2.reshape(-1, 4))
    if aligned and len(boxes1) != len(boxes2):
        raise ValueError(
            f'aligned overlaps need as many boxes on both sides, got {len(boxes1)} and '
            f'{len(boxes2)}.')
    first = boxes1.unbind(1) if aligned else boxes1[:, :, None].unbind(1)
    second = boxes2.unbind(1)
    # One coordinate at a time, which needs half the memory traffic of [M, N, 2] corners.
    width = torch.minimum(first[2], second[2]) - torch.maximum(first[0], second[0])
    height = torch.minimum(first[3], second[3]) - torch.maximum(first[1], second[1])
    intersection = (width + offset).clamp_(min=0) * (height + offset).clamp_(min=0)
    area1 = (first[2] - first[0] + offset) * (first[3] - first[1] + offset)
    if mode == 'iof':
        return intersection / area1
    area2 = (second[2] - second[0] + offset) * (second[3] - second[1] + offset)
    return intersection / (area1 + area2 - intersection)


def _greedy_keep(suppresses: Tensor) -> Tensor:
    """Solve ``keep[j] = no kept i < j suppresses j`` for a whole block by fixed-point iteration.

    The iteration starts from "all kept". Entry ``j`` is final once every earlier entry is, so
    the fixed point, which is unique, is reached after as many rounds as the longest chain of
    suppressions.

    Args:
        suppresses (BoolTensor[N, N]): strictly upper triangular, ``[i, j]``.

    Returns:
        BoolTensor[N]: the boxes that greedy suppression keeps.
    """
    keep = torch.ones(len(suppresses), dtype=torch.bool, device=suppresses.device)
    while True:
        updated = ~(suppresses & keep[:, None]).any(0)
        if torch.equal(updated, keep):
            return keep
        keep = updated


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: float = 0) -> Tensor:
    """Perform greedy non-maximum suppression.

    A box is removed if it overlaps a kept box of higher score by strictly more than the
    threshold. Equal scores keep the order of the input, as in torchvision (mmcv's kernel uses
    an unstable sort). The threshold is compared in the precision of the overlaps, as in mmcv:
    at float32 0.6 means 0.60000002.

    Args:
        boxes (Tensor[N, 4]): x1, y1, x2, y2.
        scores (Tensor[N]): higher is better.
        iou_threshold (float): in [0, 1].
        offset (float): added to the lengths of the sides.

    Returns:
        LongTensor[K]: indices of the kept boxes, by descending score.
    """
    order = scores.argsort(dim=0, descending=True, stable=True)
    ranked = _computable(boxes)[order]
    kept_boxes: list[Tensor] = []
    kept_indices = [order[:0]]
    for start in range(0, len(ranked), BLOCK_SIZE):
        block, indices = ranked[start:start + BLOCK_SIZE], order[start:start + BLOCK_SIZE]
        for kept in kept_boxes:
            alive = ~(box_overlaps(kept, block, offset=offset) > iou_threshold).any(0)
            block, indices = block[alive], indices[alive]
        overlapping = box_overlaps(block, block, offset=offset) > iou_threshold
        keep = _greedy_keep(overlapping.triu_(diagonal=1))
        kept_boxes.append(block[keep])
        kept_indices.append(indices[keep])
    return torch.cat(kept_indices)


def _soft_overlaps(best: Table, rest: Table, offset: float) -> Table:
    """Return the IoU of one candidate [6] with others [6, N]; 0 for 0 / 0."""
    width = np.minimum(rest[X2], best[X2])
    width -= np.maximum(rest[X1], best[X1])
    width += offset
    height = np.minimum(rest[Y2], best[Y2])
    height -= np.maximum(rest[Y1], best[Y1])
    height += offset
    shared: Table = np.maximum(width, 0, out=width)
    shared *= np.maximum(height, 0, out=height)
    union = rest[AREA] + best[AREA]
    union -= shared
    # Two boxes without an area do not overlap.
    union[union == 0] = 1
    shared /= union
    return shared


def _decay(overlaps: Table, method: str, iou_threshold: float, sigma: float) -> Table:
    """Return the factors of the scores, given the overlaps with a better box (Sec. 3)."""
    if method == 'gaussian':
        overlaps *= overlaps
        overlaps /= -sigma
        return np.exp(overlaps, out=overlaps)
    reduced = 0 if method == 'naive' else 1 - overlaps
    return np.where(overlaps >= iou_threshold, reduced, overlaps.dtype.type(1))


def _fill_holes(stays: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the positions that remain if each removed entry is replaced by the last one."""
    count = np.count_nonzero(stays)
    positions = np.arange(count)
    holes = np.flatnonzero(~stays[:count])
    positions[holes] = (np.flatnonzero(stays[count:]) + count)[::-1]
    return positions


def soft_nms(
        boxes: Tensor,
        scores: Tensor,
        iou_threshold: float = 0.3,
        sigma: float = 0.5,
        min_score: float = 1e-3,
        method: str = 'linear',
        offset: float = 0,
        labels: Tensor | None = None,
        max_num: int | None = None) -> tuple[Tensor, Tensor]:
    """Lower the scores of boxes that overlap better ones instead of dropping them.

    The best remaining box is selected repeatedly, and the scores of the others of its class are
    multiplied by 0 or 1 - IoU if the IoU reaches the threshold (``naive``, ``linear``), or by
    exp(-IoU^2 / sigma) (``gaussian``). A box whose score falls below ``min_score`` is removed;
    the first box of a class always stays. Equal scores are selected in the order of mmcv's
    kernel, which swaps the selected box with the first remaining one of its class, and a
    removed box with the last one. Unlike in mmcv, two boxes without an area keep their scores
    with every method; there ``gaussian`` makes them NaN.

    The original implementation calls its own with ``gaussian``, sigma 0.5, ``min_score`` 0.001
    and ``offset`` 1, and then continues with the whole array, whose end still holds copies of
    boxes that were moved into the places of removed ones. This implementation discards removed
    boxes.

    The boxes are processed one by one on the CPU, so that a device is synchronized only once in
    each direction. The best ones come first, so that ``max_num`` saves the work for the rest.

    Args:
        boxes (Tensor[N, 4]): x1, y1, x2, y2.
        scores (Tensor[N]): not NaN.
        iou_threshold (float): for ``naive`` and ``linear``.
        sigma (float): for ``gaussian``.
        min_score (float): lowest score that is kept.
        method (str): ``'naive'``, ``'linear'`` or ``'gaussian'``.
        offset (float): added to the lengths of the sides.
        labels (Tensor[N], optional): classes; boxes of different classes do not affect each
            other.
        max_num (int, optional): maximum number of boxes, the best ones of all classes.

    Returns:
        tuple[Tensor[K, 5], LongTensor[K]]: boxes with their new scores, by descending score,
        and their indices.

    Raises:
        ValueError: for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f'method is {method!r}; expected one of {", ".join(METHODS)}.')
    dtype = torch.float64 if torch.float64 in (boxes.dtype, scores.dtype) else torch.float32
    columns = [boxes.detach().to(dtype), scores.detach().to(dtype)[:, None]]
    if labels is not None:
        columns.append(labels[:, None])
    # One tensor, so that there is one transfer; float32 can represent any class index.
    given = torch.cat(columns, dim=1).cpu().numpy()

    # Sorted by class: [begins, ends) of a class are its boxes that are not selected yet.
    classes = given[:, 5] if labels is not None else np.zeros(len(given))
    order = np.argsort(classes, kind='stable')
    _, inverse, counts = np.unique(classes[order], return_inverse=True, return_counts=True)
    segments, ends = inverse.tolist(), counts.cumsum().tolist()
    begins = (counts.cumsum() - counts).tolist()

    table = np.empty((6, len(given)), given.dtype)
    table[[X1, Y1, X2, Y2, SCORE]] = given[order, :5].T
    table[AREA] = (table[X2] - table[X1] + offset) * (table[Y2] - table[Y1] + offset)
    indices: list[int] = []
    taken_scores: list[float] = []
    left = len(given)
    while left > 0 and (max_num is None or len(indices) < max_num):
        best = int(table[SCORE].argmax())
        segment = segments[best]
        begin, end = begins[segment], ends[segment]
        taken = table[:, best].copy()
        indices.append(order[best])
        taken_scores.append(taken[SCORE])
        table[:, best], order[best] = table[:, begin], order[begin]
        table[SCORE, begin] = -np.inf
        begins[segment] = begin = begin + 1
        left -= 1
        if begin == end:
            continue
        rest = table[:, begin:end]
        rest[SCORE] *= _decay(_soft_overlaps(taken, rest, offset), method, iou_threshold, sigma)
        leaves = rest[SCORE] < min_score
        if leaves.any():
            positions = _fill_holes(~leaves)
            ends[segment] = middle = begin + len(positions)
            left -= end - middle
            table[:, begin:middle] = rest[:, positions]
            order[begin:middle] = order[begin:end][positions]
            table[SCORE, middle:end] = -np.inf
    kept = torch.tensor(indices, dtype=torch.long, device=boxes.device)
    new_scores = torch.tensor(taken_scores, dtype=scores.dtype, device=boxes.device)
    return torch.cat((boxes[kept], new_scores[:, None]), dim=1), kept
