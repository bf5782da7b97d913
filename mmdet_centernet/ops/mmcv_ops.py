"""Replacements for operations of mmcv's compiled module, with its names and signatures."""
from torch import Tensor

from mmdet_centernet.ops.boxes import METHODS, box_overlaps, soft_nms
from mmdet_centernet.ops.boxes import nms as plain_nms


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices of the kept boxes, by descending score."""
    return plain_nms(boxes, scores, iou_threshold, offset)


def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float,
            min_score: float, method: int, offset: int) -> Tensor:
    """Fill the first rows of ``dets`` [N, 5] and return their indices."""
    kept, indices = soft_nms(
        boxes, scores, iou_threshold, sigma, min_score, METHODS[method], offset)
    dets[:len(kept)] = kept
    return indices


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool,
                  offset: int) -> None:
    """Fill ``ious``, [M, N] or, aligned, [M]."""
    ious.copy_(box_overlaps(bboxes1, bboxes2, ('iou', 'iof')[mode], aligned, offset))


def get_compiler_version() -> str:
    """Return the text that mmengine prints for it in a run's environment."""
    return 'not available'


def get_compiling_cuda_version() -> str:
    """Return the text that mmengine prints for it in a run's environment."""
    return 'not available'


OPERATIONS = (nms, softnms, bbox_overlaps, get_compiler_version, get_compiling_cuda_version)
