"""Soft non-maximum suppression (Bodla et al. 2017, arXiv:1704.04503)."""
import torch
from torch import Tensor

from .nms import box_overlaps

METHODS = ('naive', 'linear', 'gaussian')


def _decay(overlaps: Tensor, method: str, iou_threshold: float, sigma: float) -> Tensor:
    """What a score is multiplied by, given the overlap with a better box (Sec. 3)."""
    if method == 'gaussian':
        # Two boxes without area have no overlap to speak of: 0 / 0.
        overlaps = overlaps.nan_to_num(nan=0.)
        return torch.exp(-(overlaps * overlaps) / sigma)
    reduced = torch.zeros_like(overlaps) if method == 'naive' else 1 - overlaps
    return torch.where(overlaps >= iou_threshold, reduced, torch.ones_like(overlaps))


def _fill_holes(stays: Tensor) -> Tensor:
    """Positions of what stays after each discarded entry is replaced by the last one."""
    count = int(stays.sum())
    positions = torch.arange(count, device=stays.device)
    holes = (~stays[:count]).nonzero().flatten()
    positions[holes] = (stays[count:].nonzero().flatten() + count).flip(0)
    return positions


def soft_nms(
        boxes: Tensor,
        scores: Tensor,
        iou_threshold: float = 0.3,
        sigma: float = 0.5,
        min_score: float = 1e-3,
        method: str = 'linear',
        offset: float = 0) -> tuple[Tensor, Tensor]:
    """Lower the scores of boxes that overlap better ones instead of dropping them.

    In turn the best box left is taken, and the scores of the others are multiplied by
    0 or 1 - IoU where the IoU reaches the threshold (``naive``, ``linear``), or by
    exp(-IoU^2 / sigma) (``gaussian``). A box whose score falls below ``min_score`` leaves;
    the very first one stays in any case. Equal scores are taken in the order in which
    mmcv's kernel takes them: it swaps the taken box with the first one left, and a
    discarded one with the last. Unlike with mmcv's, two boxes without area leave each
    other's scores alone with every method; there ``gaussian`` makes them NaN.

    Args:
        boxes (Tensor[N, 4]): x1, y1, x2, y2.
        scores (Tensor[N]): not NaN.
        iou_threshold (float): for ``naive`` and ``linear``.
        sigma (float): for ``gaussian``.
        min_score (float): lowest score that stays.
        method (str): ``'naive'``, ``'linear'`` or ``'gaussian'``.
        offset (float): added to the sides' lengths.

    Returns:
        tuple[Tensor[K, 5], LongTensor[K]]: boxes with their new scores, by falling score,
        and their indices.

    Raises:
        ValueError: for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f'method is {method!r}; expected one of {", ".join(METHODS)}.')
    current = scores.clone()
    order = torch.arange(len(boxes), device=boxes.device)
    taken, left = 0, len(boxes)
    while taken < left:
        best = taken + int(current[taken:left].argmax())
        for values in (order, current):
            values[[taken, best]] = values[[best, taken]]
        rest, rest_scores = order[taken + 1:left], current[taken + 1:left]
        overlaps = box_overlaps(boxes[order[taken:taken + 1]], boxes[rest], offset=offset)[0]
        weights = _decay(overlaps, method, iou_threshold, sigma)
        rest_scores = rest_scores * weights
        positions = _fill_holes(~(rest_scores < min_score))
        taken, left = taken + 1, taken + 1 + len(positions)
        order[taken:left] = rest[positions]
        current[taken:left] = rest_scores[positions]
    order, current = order[:left], current[:left]
    return torch.cat((boxes[order], current[:, None]), dim=1), order
