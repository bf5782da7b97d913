"""Overlaps and suppression of boxes (x1, y1, x2, y2), pair by pair."""
import math

import numpy as np


def overlap_slowly(first, second, offset=0, mode='iou', number=np.float64):
    """Return the overlap of two boxes; NaN where both areas are 0.

    Args:
        first, second (Sequence[float]): xyxy.
        offset (float): added to widths and heights, 1 where coordinates are whole pixels.
        mode (str): ``'iou'``, intersection over union, or ``'iof'``, over the first box.
        number (type): precision of every operation; mmcv's kernel computes in ``np.float32``.
    """
    first, second, offset = map(number, (first, second, offset))
    width = max(min(first[2], second[2]) - max(first[0], second[0]) + offset, number(0))
    height = max(min(first[3], second[3]) - max(first[1], second[1]) + offset, number(0))
    areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (first, second)]
    inter = width * height
    whole = areas[0] + areas[1] - inter if mode == 'iou' else areas[0]
    return inter / whole if whole else number('nan')


def giou_slowly(first, second):
    """Return the generalized IoU of two boxes (Rezatofighi et al., 2019)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    inter = max(width, 0) * max(height, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - inter
    around = (max(first[2], second[2]) - min(first[0], second[0])) * (
        max(first[3], second[3]) - min(first[1], second[1]))
    return inter / union - (around - union) / around


def nms_slowly(boxes, scores, iou_threshold, offset=0, labels=None, number=np.float64):
    """Return the indices that greedy suppression keeps, best first; the first of equal scores.

    Args:
        boxes (Sequence[Sequence[float]]): xyxy.
        scores (Sequence[float]): of the boxes.
        iou_threshold (float): a box that overlaps a kept one by more is dropped.
        offset, number: see :func:`overlap_slowly`.
        labels (Sequence[int], optional): only boxes of the same class suppress each other.
    """
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        rivals = [i for i in kept if labels is None or labels[i] == labels[index]]
        if not any(overlap_slowly(boxes[i], boxes[index], offset, number=number)
                   > number(iou_threshold) for i in rivals):
            kept.append(index)
    return kept


def soft_nms_slowly(boxes, scores, iou_threshold, sigma, min_score, method, offset=0):
    """Return the (index, score) pairs of Soft-NMS, Figure 2 (Bodla et al., 2017), best first.

    On a list in which taken boxes stand first: the taken box trades places with the first one
    left, and a discarded one with the last. That decides between equal scores.

    Args:
        boxes (Sequence[Sequence[float]]): xyxy.
        scores (Sequence[float]): of the boxes.
        iou_threshold (float): of the methods ``'naive'`` and ``'linear'``.
        sigma (float): of the method ``'gaussian'``.
        min_score (float): boxes that score less are discarded.
        method (str): one of these three.
        offset (float): see :func:`overlap_slowly`.
    """
    entries = [[index, score] for index, score in enumerate(scores)]
    taken = 0
    while taken < len(entries):
        best = max(range(taken, len(entries)), key=lambda i: entries[i][1])
        entries[taken], entries[best] = entries[best], entries[taken]
        place = taken + 1
        while place < len(entries):
            overlap = overlap_slowly(boxes[entries[taken][0]], boxes[entries[place][0]], offset)
            overlap = 0.0 if math.isnan(overlap) else float(overlap)
            if method == 'gaussian':
                entries[place][1] *= math.exp(-overlap**2 / sigma)
            elif overlap >= iou_threshold:
                entries[place][1] *= 0 if method == 'naive' else 1 - overlap
            if entries[place][1] < min_score:
                last = entries.pop()
                if place < len(entries):
                    entries[place] = last  # its turn is next
            else:
                place += 1
        taken += 1
    return [tuple(entry) for entry in entries]
