"""Penalty-reduced focal loss of the center heatmap, on logits."""
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmdet_centernet.ops.heatmap import SparseHeatmap
from mmdet_centernet.registry import MODELS

# Number of cells processed at a time on a CPU, so that the buffers stay in the cache.
CPU_CHUNK = 1 << 16


def _chunks(flat: Tensor) -> tuple[Tensor, ...]:
    return flat.split(CPU_CHUNK) if flat.device.type == 'cpu' else (flat,)


def _limited(x: Tensor, limit: float) -> Tensor:
    """Clamp logits to [-limit, limit], in float32."""
    return x.float() if math.isinf(limit) else x.float().clamp(-limit, limit)


def _background_loss(x: Tensor, alpha: float, limit: float) -> Tensor:
    """Sum ``-log(1 - p) p^alpha``, the loss of empty cells; ``p`` is the sigmoid of ``x``."""
    total = x.new_zeros((), dtype=torch.float32)
    for part in _chunks(x):
        part = _limited(part, limit)
        weight = part.sigmoid()
        weight = weight.square_() if alpha == 2 else weight.pow_(alpha)
        total += torch.dot(weight, F.softplus(part))
    return total


def _background_grad(x: Tensor, alpha: float, limit: float, scale: Tensor) -> Tensor:
    """Compute ``scale`` times the derivative of :func:`_background_loss`.

    ``d/dx softplus(x) p^a = p^a (p + a (1 - p) softplus(x))``
    """
    grad = torch.empty_like(x)
    for part, out in zip(_chunks(x), _chunks(grad), strict=True):
        free = _limited(part, limit)
        p = free.sigmoid()
        loss = F.softplus(free).mul_(alpha)
        inner = torch.addcmul(loss, p, loss, value=-1).add_(p)
        weight = p.square_() if alpha == 2 else p.pow_(alpha)
        out.copy_(inner.mul_(weight).mul_(scale))
        if not math.isinf(limit):
            out.masked_fill_(part.abs() > limit, 0)
    return grad


def _cell_loss(x: Tensor, y: Tensor, alpha: float, gamma: float) -> Tensor:
    """Compute the loss of cells with logits ``x`` and targets ``y`` (Objects as Points, eq. 1).

    ``-log p = softplus(-x)`` and ``-log(1 - p) = softplus(x)`` are exact even if a probability
    rounds to 0 or 1.
    """
    positive = (1 - x.sigmoid()).pow(alpha) * F.softplus(-x)
    negative = (1 - y).pow(gamma) * x.sigmoid().pow(alpha) * F.softplus(x)
    return torch.where(y == 1, positive, negative)


def _is_channels_last(x: Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _as_map(flat: Tensor, like: Tensor) -> Tensor:
    """Invert :func:`_in_memory_order`: reshape flat values to a map like ``like``."""
    batch, channels, height, width = like.shape
    if _is_channels_last(like):
        return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return flat.view(like.shape)


def _in_memory_order(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Flatten a map [B, C, H, W] in memory order, and convert an index into it.

    Networks on a CPU output channels-last maps; flattening these in the order of [B, C, H, W]
    would copy them. ``index`` counts in the order of [B, C, H, W]; the returned index refers to
    the flat map.
    """
    if not _is_channels_last(x):
        return x.reshape(-1), index
    channels, cells = x.shape[1], x.shape[2] * x.shape[3]
    plane, cell = index.div(cells, rounding_mode='floor'), index % cells
    image, channel = plane.div(channels, rounding_mode='floor'), plane % channels
    return x.permute(0, 2, 3, 1).reshape(-1), (image * cells + cell) * channels + channel


class _GaussianFocal(torch.autograd.Function):
    """Sum of the focal loss over all cells, with a backward pass that keeps only the logits.

    The sum is computed as if every cell were empty (``y = 0``), and then corrected at the cells
    that a Gaussian reaches.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        index: Tensor,
        value: Tensor,
        unique: Tensor,
        alpha: float,
        gamma: float,
        limit: float,
    ) -> Tensor:
        flat, index = _in_memory_order(logits, index)
        reached = _limited(flat[index], limit)
        empty = torch.zeros((), device=value.device)
        correction = (
            _cell_loss(reached, value, alpha, gamma) - _cell_loss(reached, empty, alpha, gamma)
        )
        ctx.save_for_backward(logits, index, value)
        ctx.alpha, ctx.gamma, ctx.limit = alpha, gamma, limit
        return _background_loss(flat, alpha, limit) + correction.mul(unique).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        logits, index, value = ctx.saved_tensors
        flat, _ = _in_memory_order(logits, index)
        grad = _background_grad(flat, ctx.alpha, ctx.limit, grad_output)
        with torch.enable_grad():
            reached = flat[index].float().requires_grad_()
            loss = _cell_loss(
                _limited(reached, ctx.limit), value, ctx.alpha, ctx.gamma).sum()
        # A cell that occurs several times in the index gets the same value each time.
        grad[index] = (torch.autograd.grad(loss, reached)[0] * grad_output).to(grad.dtype)
        return _as_map(grad, logits), None, None, None, None, None, None


def gaussian_focal_loss(
    logits: Tensor,
    target: SparseHeatmap,
    alpha: float = 2.0,
    gamma: float = 4.0,
    min_probability: float = 0.0,
) -> Tensor:
    """Sum the penalty-reduced focal loss (Objects as Points, eq. 1), without averaging.

    It equals the following, but is faster, and exact for probabilities that round to 0 or 1::

        y = target.to_dense()
        p = logits.sigmoid()
        positive = -(1 - p) ** alpha * p.log()
        negative = -(1 - y) ** gamma * p ** alpha * (1 - p).log()
        loss = torch.where(y == 1, positive, negative).sum()

    Args:
        logits (Tensor[B, C, H, W]): any floating type; the sum is computed in float32.
        target (SparseHeatmap): target ``y`` of the same shape.
        alpha (float): exponent of the prediction.
        gamma (float): exponent of ``1 - y``.
        min_probability (float): in [0, 0.5); ``p`` is clamped to [min_probability,
            1 - min_probability], beyond which a cell has no gradient. The original clamps at
            1e-4 to avoid logarithms of 0, which cannot occur here.

    Returns:
        Tensor: 0-d, float32.

    Raises:
        ValueError: if the shapes differ.
    """
    if tuple(logits.shape) != tuple(target.shape):
        raise ValueError(
            f'The heatmap has shape {tuple(logits.shape)}, its target {tuple(target.shape)}.'
        )
    limit = math.log(1 / min_probability - 1) if min_probability else math.inf
    return _GaussianFocal.apply(
        logits, target.positions, target.value, target.unique, alpha, gamma, limit)


@MODELS.register_module()
class GaussianFocalLoss(nn.Module):
    """Penalty-reduced focal loss on logits; see :func:`gaussian_focal_loss`.

    Args:
        alpha, gamma, min_probability (float): see :func:`gaussian_focal_loss`.
        loss_weight (float): factor of the result.

    Raises:
        ValueError: if ``min_probability`` is not in [0, 0.5).
    """

    #: Heads pass logits and a sparse target to this loss, instead of probabilities and a
    #: dense target.
    takes_logits = True

    def __init__(
        self,
        alpha: float = 2.0,
        gamma: float = 4.0,
        loss_weight: float = 1.0,
        min_probability: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= min_probability < 0.5:
            raise ValueError(f'min_probability = {min_probability} must lie in [0, 0.5).')
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.min_probability = min_probability

    def forward(
        self, logits: Tensor, target: SparseHeatmap, avg_factor: Tensor | float
    ) -> Tensor:
        """Compute the sum over all cells, divided by ``avg_factor``, times ``loss_weight``."""
        loss = gaussian_focal_loss(
            logits, target, self.alpha, self.gamma, self.min_probability)
        return loss / avg_factor * self.loss_weight
