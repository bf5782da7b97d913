"""Matching of predicted with true boxes, one by one."""
from reference.boxes import overlap_slowly


def match_slowly(pred, truth, threshold, pred_labels=None, truth_labels=None):
    """Give each box, in order, the free true box of its class with the largest IoU.

    Returns:
        list[int]: its index, -1 if no IoU reaches the threshold.
    """
    used, found = set(), []
    for number, a in enumerate(pred):
        best, best_iou = -1, threshold
        for index, b in enumerate(truth):
            if pred_labels is not None and pred_labels[number] != truth_labels[index]:
                continue
            iou = overlap_slowly(a, b)  # NaN without area
            if index not in used and iou >= best_iou and (best < 0 or iou > best_iou):
                best, best_iou = index, iou
        if best >= 0:
            used.add(best)
        found.append(best)
    return found
