"""Suppression of detections that repeat a better one, by one of several methods."""
from typing import Any

import torch
from mmcv.ops import batched_nms
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.boxes import soft_nms

SOFT_NMS_OPTIONS = {'iou_threshold', 'sigma', 'min_score', 'method', 'offset'}


def suppress(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    cfg: dict[str, Any],
    max_num: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Suppress detections of one image, class by class.

    Args:
        boxes (Tensor[N, 4]): xyxy; may reach below zero.
        scores (Tensor[N]): of the detections.
        labels (Tensor[N]): int64.
        cfg (dict): ``type`` and its options. ``'soft_nms'`` is
            :func:`mmdet_centernet.ops.boxes.soft_nms`, ``'nms'`` is mmcv's
            ``batched_nms``. With ``class_agnostic=True`` all classes are taken as one.
        max_num (int, optional): maximum number of detections returned.

    Returns:
        tuple: scores [K] of the remaining detections, best first, reduced by soft-NMS; and their
        indices [K], int64.

    Raises:
        UserError: for another type, or an option that soft-NMS does not have.
    """
    options = dict(cfg)
    method = options.pop('type', None)
    if method not in ('nms', 'soft_nms'):
        raise UserError(f"nms={dict(cfg)} has type {method!r}: write "
                        "dict(type='nms', iou_threshold=0.5) or dict(type='soft_nms')")
    if not len(boxes):
        return scores, labels.new_zeros(0, dtype=torch.long)
    if method == 'soft_nms':
        class_agnostic = options.pop('class_agnostic', False)
        unknown = sorted(set(options) - SOFT_NMS_OPTIONS)
        if unknown:
            raise UserError(f'nms of type soft_nms has no option {unknown[0]}: its options are '
                            f'{", ".join(sorted(SOFT_NMS_OPTIONS))} and class_agnostic')
        scored, kept = soft_nms(
            boxes, scores, labels=torch.zeros_like(labels) if class_agnostic else labels,
            max_num=max_num, **options)
        return scored[:, 4], kept
    # mmcv keeps classes apart by shifting them by the largest coordinate, which is enough
    # only for boxes that do not reach below zero.
    scored, kept = batched_nms(boxes - boxes.min(), scores, labels, dict(cfg))
    return scored[:max_num, 4], kept[:max_num]
