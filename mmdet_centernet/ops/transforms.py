"""Map points and boxes between images by affine matrices."""
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def transform_boxes(bboxes: Tensor, matrices: Tensor) -> Tensor:
    """Map boxes by affine matrices and return the axis-aligned boxes around the results.

    Centers are mapped and half sizes are scaled, so that x1 <= x2 still holds after a flip, and
    a predicted negative size stays negative.

    Args:
        bboxes (Tensor[B, K, 4]): xyxy.
        matrices (Tensor[B, 3, 3]): affine.

    Returns:
        Tensor[B, K, 4]: xyxy.
    """
    corner, opposite = bboxes[..., :2], bboxes[..., 2:]
    center = transform_points((corner + opposite) / 2, matrices)
    half = (opposite - corner) / 2 @ matrices[:, :2, :2].mT.abs()
    return torch.cat((center - half, center + half), dim=-1)


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Map points [B, K, 2] (x, y) by affine matrices [B, 3, 3]."""
    return points @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]


def boxes_around(points: Tensor) -> Tensor:
    """Return the boxes [..., 4] (xyxy) around points [..., P, 2]."""
    return torch.cat((points.amin(dim=-2), points.amax(dim=-2)), dim=-1)


def clip_boxes(bboxes: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Clip boxes [B, K, 4] (xyxy) to [0, width] x [0, height] of B images of (height, width)."""
    upper = bboxes.new_tensor([(w, h, w, h) for h, w in sizes])[:, None]
    return bboxes.clamp(min=0).minimum(upper)


def input_to_original(batch_img_metas: Sequence[Mapping[str, Any]], like: Tensor) -> Tensor:
    """Return the matrices from network-input pixels to original pixels.

    They are the inverses of ``homography_matrix``. Without it (MMDetection's pipelines pack
    other keys) the input is the original times ``scale_factor``, shifted by ``border``.

    Args:
        batch_img_metas (Sequence[Mapping]): metainfo of the images.
        like (Tensor): its device and dtype are the result's.

    Returns:
        Tensor[B, 3, 3]
    """
    matrices = []
    for meta in batch_img_metas:
        if 'homography_matrix' in meta:
            matrix = np.asarray(meta['homography_matrix'], np.float64)
        else:
            top, _, left, _ = meta.get('border', (0, 0, 0, 0))
            scale_x, scale_y = meta.get('scale_factor', (1, 1))
            matrix = np.array([[scale_x, 0, left], [0, scale_y, top], [0, 0, 1]], np.float64)
        matrices.append(np.linalg.inv(matrix))
    return torch.from_numpy(np.stack(matrices)).to(like)


def add_padded(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Add tensors after padding the shorter one with zeros along a dimension."""
    size = max(first.shape[dim], second.shape[dim])
    padding = [0, 0] * (first.dim() - dim - 1)
    return (F.pad(first, (*padding, 0, size - first.shape[dim]))
            + F.pad(second, (*padding, 0, size - second.shape[dim])))
