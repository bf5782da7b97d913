"""Matching of predictions with ground truth (numpy)."""
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def match(similarity: Floats, threshold: float) -> NDArray[np.int64]:
    """Give each prediction, in order, the free ground truth that it is most similar to.

    Args:
        similarity (ndarray[N, M]): of predictions, best first, and ground truth.
        threshold (float): least similarity of a pair, positive.

    Returns:
        ndarray[N]: index of the prediction's ground truth, -1 if it has none.
    """
    similarity = similarity.copy()
    found = np.full(len(similarity), -1, dtype=np.int64)
    for index in range(len(similarity) if similarity.size else 0):
        best = int(similarity[index].argmax())
        if similarity[index, best] >= threshold:
            found[index] = best
            similarity[:, best] = -1
    return found


def match_by_class(
    similarity: Floats,
    pred_labels: NDArray[np.int64],
    truth_labels: NDArray[np.int64],
    threshold: float = 0.5,
) -> NDArray[np.int64]:
    """Match predictions with ground truth of the same class; see :func:`match`.

    Args:
        similarity (ndarray[N, M]): of predictions, best first, and ground truth.
        pred_labels (ndarray[N]): classes.
        truth_labels (ndarray[M]): classes.
        threshold (float): least similarity of a pair, positive.

    Returns:
        ndarray[N]: index of the prediction's ground truth, -1 if it has none.
    """
    same = pred_labels[:, None] == truth_labels[None]
    return match(np.where(same, similarity, -1), threshold)
