"""Overlaps of boxes and greedy non-maximum suppression.

Boxes are ``(x1, y1, x2, y2)`` in one common unit. ``offset`` is what is added to a box's
sides: 0 for continuous coordinates, 1 for inclusive pixel indices.
"""
import torch
from torch import Tensor

# A block's overlaps are held at once, so this bounds the memory (four MiB a float matrix).
BLOCK_SIZE = 1024


def _computable(boxes: Tensor) -> Tensor:
    """Half precision (and integers) cannot hold areas of boxes; compute in float32."""
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def box_overlaps(
        boxes1: Tensor,
        boxes2: Tensor,
        mode: str = 'iou',
        aligned: bool = False,
        offset: float = 0) -> Tensor:
    """Overlap of boxes: intersection over union, or over the first box's area.

    Args:
        boxes1 (Tensor[M, 4]): x1, y1, x2, y2.
        boxes2 (Tensor[N, 4]): in the same unit; M = N if ``aligned``.
        mode (str): ``'iou'``, or ``'iof'`` for the share of the first box that is covered.
        aligned (bool): row by row instead of each with each.
        offset (float): added to the sides' lengths.

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
    # One coordinate at a time: half the memory traffic of [M, N, 2] corners.
    width = torch.minimum(first[2], second[2]) - torch.maximum(first[0], second[0])
    height = torch.minimum(first[3], second[3]) - torch.maximum(first[1], second[1])
    intersection = (width + offset).clamp_(min=0) * (height + offset).clamp_(min=0)
    area1 = (first[2] - first[0] + offset) * (first[3] - first[1] + offset)
    if mode == 'iof':
        return intersection / area1
    area2 = (second[2] - second[0] + offset) * (second[3] - second[1] + offset)
    return intersection / (area1 + area2 - intersection)


def _greedy_keep(suppresses: Tensor) -> Tensor:
    """Solve ``keep[j] = no kept i < j suppresses j`` for a whole block at once.

    Args:
        suppresses (BoolTensor[N, N]): strictly upper triangular, ``[i, j]``.

    Returns:
        BoolTensor[N]: the greedy choice. Iterating from "all kept" settles entry ``j``
        once every earlier entry has settled, so the fixed point is reached after as many
        rounds as the longest chain of suppressions, and it is the only one.
    """
    keep = torch.ones(len(suppresses), dtype=torch.bool, device=suppresses.device)
    while True:
        updated = ~(suppresses & keep[:, None]).any(0)
        if torch.equal(updated, keep):
            return keep
        keep = updated


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: float = 0) -> Tensor:
    """Greedy non-maximum suppression.

    A box goes if it overlaps a kept box of higher score by strictly more than the
    threshold. Equal scores keep the order of the input (as torchvision has it; mmcv's
    kernel leaves their order to an unstable sort). The threshold is compared in the
    overlaps' own precision, as mmcv does it: at float32 0.6 means 0.60000002.

    Args:
        boxes (Tensor[N, 4]): x1, y1, x2, y2.
        scores (Tensor[N]): higher is better.
        iou_threshold (float): in [0, 1].
        offset (float): added to the sides' lengths.

    Returns:
        LongTensor[K]: indices of the kept boxes, by falling score.
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
