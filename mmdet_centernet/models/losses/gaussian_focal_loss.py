"""Penalty-reduced focal loss of the center heatmap, on logits."""
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.heatmap import SparseHeatmap
from mmdet_centernet.registry import MODELS

# Number of cells processed at a time on a CPU, so that the buffers stay in the cache.
CPU_CHUNK = 1 << 16


def _chunks(flat: Tensor) -> tuple[Tensor, ...]:
    return flat.split(CPU_CHUNK) if flat.device.type == 'cpu' else (flat,)


def _limited(x: Tensor, limit: float) -> Tensor:
    """Clamp logits to [-limit, limit], in float32."""
    return x.float() if math.isinf(limit) else x.float().clamp(-limit, limit)


def _background_loss(x: Tensor, weight: Tensor | None, alpha: float, limit: float) -> Tensor:
    """Sum ``-log(1 - p) p^alpha``, the loss of empty cells; ``p`` is the sigmoid of ``x``."""
    total = x.new_zeros((), dtype=torch.float32)
    factors = itertools.repeat(None) if weight is None else _chunks(weight)
    for part, factor in zip(_chunks(x), factors):
        part = _limited(part, limit)
        term = part.sigmoid()
        term = term.square_() if alpha == 2 else term.pow_(alpha)
        if factor is not None:
            term.mul_(factor)
        total += torch.dot(term, F.softplus(part))
    return total


def _background_grad(
    x: Tensor, weight: Tensor | None, alpha: float, limit: float, scale: Tensor
) -> Tensor:
    """Compute ``scale`` times the derivative of :func:`_background_loss`.

    ``d/dx softplus(x) p^a = p^a (p + a (1 - p) softplus(x))``
    """
    grad = torch.empty_like(x)
    factors = itertools.repeat(None) if weight is None else _chunks(weight)
    for part, out, factor in zip(_chunks(x), _chunks(grad), factors):
        free = _limited(part, limit)
        p = free.sigmoid()
        loss = F.softplus(free).mul_(alpha)
        inner = torch.addcmul(loss, p, loss, value=-1).add_(p)
        inner.mul_(p.square_() if alpha == 2 else p.pow_(alpha))
        if factor is not None:
            inner.mul_(factor)
        out.copy_(inner.mul_(scale))
        if not math.isinf(limit):
            out.masked_fill_(part.abs() > limit, 0)
    return grad


class _Options(NamedTuple):
    alpha: float
    gamma: float
    limit: float  # of logits
    pos_weight: float
    neg_weight: float


def _positive_loss(x: Tensor, options: _Options) -> Tensor:
    """Compute the loss of centers with logits ``x`` (Objects as Points, eq. 1).

    ``-log p = softplus(-x)`` is exact even if a probability rounds to 0.
    """
    return options.pos_weight * (1 - x.sigmoid()).pow(options.alpha) * F.softplus(-x)


def _negative_loss(x: Tensor, y: Tensor, options: _Options) -> Tensor:
    """Compute the loss of other cells with logits ``x`` and targets ``y``; 0 where ``y`` is 1."""
    penalty = (1 - y).pow(options.gamma)
    return options.neg_weight * penalty * x.sigmoid().pow(options.alpha) * F.softplus(x)


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


def _class_weights(logits: Tensor, weight: Tensor) -> Tensor:
    """Return the weights of classes [C] at each cell of a map, in its memory order."""
    batch, channels, height, width = logits.shape
    weight = weight.to(device=logits.device, dtype=torch.float32)
    if _is_channels_last(logits):
        return weight.expand(batch * height * width, channels).reshape(-1)
    return weight[:, None].expand(batch, channels, height * width).reshape(-1)


class _GaussianFocal(torch.autograd.Function):
    """Sum of the focal loss over all cells, with a backward pass that keeps only the logits.

    The sum is computed as if every cell were empty (``y = 0``), and then corrected at the cells
    that a Gaussian reaches. Positives are added.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        target: SparseHeatmap,
        positives: tuple[Tensor, Tensor],
        class_weight: Tensor | None,
        options: _Options,
    ) -> Tensor:
        flat, index = _in_memory_order(logits, target.positions)
        _, positive = _in_memory_order(logits, positives[0])
        weights = None if class_weight is None else _class_weights(logits, class_weight)
        unique, counted = target.unique.float(), positives[1].float()
        if weights is not None:
            unique, counted = unique * weights[index], counted * weights[positive]
        limit = options.limit
        reached = _limited(flat[index], limit)
        empty = torch.zeros((), device=reached.device)
        correction = (
            _negative_loss(reached, target.value, options)
            - _negative_loss(reached, empty, options))
        ctx.save_for_backward(logits, index, target.value, positive, counted, class_weight)
        ctx.options = options
        found = _positive_loss(_limited(flat[positive], limit), options)
        return (options.neg_weight * _background_loss(flat, weights, options.alpha, limit)
                + torch.dot(correction, unique) + torch.dot(found, counted))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        logits, index, value, positive, counted, class_weight = ctx.saved_tensors
        options = ctx.options
        flat, _ = _in_memory_order(logits, index)
        weights = None if class_weight is None else _class_weights(logits, class_weight)
        grad = _background_grad(
            flat, weights, options.alpha, options.limit, grad_output * options.neg_weight)
        with torch.enable_grad():
            reached = flat[index].float().requires_grad_()
            loss = _negative_loss(_limited(reached, options.limit), value, options)
            if weights is not None:
                loss = loss * weights[index]
            found = flat[positive].float().requires_grad_()
            gain = _positive_loss(_limited(found, options.limit), options) * counted
            slopes = torch.autograd.grad(loss.sum() + gain.sum(), (reached, found))
        # A cell that occurs several times in the index gets the same value each time.
        grad[index] = (slopes[0] * grad_output).to(grad.dtype)
        grad.index_add_(0, positive, (slopes[1] * grad_output).to(grad.dtype))
        return _as_map(grad, logits), None, None, None, None


def gaussian_focal_loss(
    logits: Tensor,
    target: SparseHeatmap,
    alpha: float = 2.0,
    gamma: float = 4.0,
    min_probability: float = 0.0,
    pos_weight: float = 1.0,
    neg_weight: float = 1.0,
    class_weight: Tensor | None = None,
    positives: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Sum the penalty-reduced focal loss (Objects as Points, eq. 1), without averaging.

    It equals the following, but is faster, and exact for probabilities that round to 0 or 1::

        y = target.to_dense()
        p = logits.sigmoid()
        positive = -pos_weight * (1 - p) ** alpha * p.log()
        negative = -neg_weight * (1 - y) ** gamma * p ** alpha * (1 - p).log()
        loss = (torch.where(y == 1, positive, negative) * class_weight[:, None, None]).sum()

    Args:
        logits (Tensor[B, C, H, W]): any floating type; the sum is computed in float32.
        target (SparseHeatmap): target ``y`` of the same shape.
        alpha (float): exponent of the prediction.
        gamma (float): exponent of ``1 - y``.
        min_probability (float): in [0, 0.5); ``p`` is clamped to [min_probability,
            1 - min_probability], beyond which a cell has no gradient. The original clamps at
            1e-4 to avoid logarithms of 0, which cannot occur here.
        pos_weight, neg_weight (float): factors of the terms of centers and of other cells.
        class_weight (Tensor[C], optional): factors of the terms of each class.
        positives (tuple[Tensor[P], Tensor[P]], optional): positions (int64, in the flattened
            map) and weights of the cells that have a positive term, instead of those with
            ``y == 1``. One with ``y < 1`` has a negative term, too.

    Returns:
        Tensor: 0-d, float32.

    Raises:
        ValueError: if the shapes differ.
        UserError: for class weights of another number of classes.
    """
    if tuple(logits.shape) != tuple(target.shape):
        raise ValueError(
            f'The heatmap has shape {tuple(logits.shape)}, its target {tuple(target.shape)}.'
        )
    limit = math.log(1 / min_probability - 1) if min_probability else math.inf
    if class_weight is not None and len(class_weight) != logits.shape[1]:
        raise UserError(f'class_weight has {len(class_weight)} entries, but the heatmap '
                        f'{logits.shape[1]} classes')
    if positives is None:
        positives = target.positions, (target.value == 1) & target.unique
    options = _Options(alpha, gamma, limit, pos_weight, neg_weight)
    return _GaussianFocal.apply(logits, target, positives, class_weight, options)


class _Federated(NamedTuple):
    """Options of the federated loss."""

    num_classes: int = 50
    power: float = 0.5


@MODELS.register_module()
class GaussianFocalLoss(nn.Module):
    """Penalty-reduced focal loss on logits; see :func:`gaussian_focal_loss`.

    Args:
        alpha, gamma, min_probability, pos_weight, neg_weight: see :func:`gaussian_focal_loss`.
        loss_weight (float): factor of the result.
        class_weight (Sequence[float] | str, optional): factor of each class. The divisor stays
            the number of positives, so that factors of 2 double the loss. ``'balanced'``: in
            proportion to ``1 / sqrt(objects of the class)`` in the training data, with a mean of
            1 over these objects.
        federated (dict, optional): federated loss of long-tailed data (CenterNet2): of the
            classes that a batch does not contain only some are trained as background.
            ``num_classes`` (50): how many classes are trained, those of the batch included;
            ``power`` (0.5): others are sampled in proportion to ``objects ** power``.

    Raises:
        ValueError: if ``min_probability`` is not in [0, 0.5), a weight is negative, or for
            another ``class_weight`` or option of ``federated``.
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
        pos_weight: float = 1.0,
        neg_weight: float = 1.0,
        class_weight: Sequence[float] | str | None = None,
        federated: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= min_probability < 0.5:
            raise ValueError(f'min_probability = {min_probability} must lie in [0, 0.5).')
        self.balanced = isinstance(class_weight, str)
        if isinstance(class_weight, str):
            if class_weight != 'balanced':
                raise ValueError(f"class_weight = '{class_weight}' must be 'balanced', or a list "
                                 'of one factor for each class.')
            class_weight = None
        if min(pos_weight, neg_weight, *(class_weight or ())) < 0:
            raise ValueError(
                f'pos_weight = {pos_weight}, neg_weight = {neg_weight} and class_weight = '
                f'{class_weight} must not be negative.')
        self.alpha = alpha
        self.gamma = gamma
        self.loss_weight = loss_weight
        self.min_probability = min_probability
        self.pos_weight = pos_weight
        self.neg_weight = neg_weight
        unknown = sorted(set(federated or ()) - set(_Federated._fields))
        if unknown:
            raise ValueError(f'federated has no option {unknown[0]}: its options are '
                             f'{", ".join(_Federated._fields)}.')
        self.federated = None if federated is None else _Federated(**federated)
        self.class_weight: Tensor | None
        self.class_counts: Tensor | None
        self.register_buffer('class_counts', None, persistent=False)
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', weight, persistent=False)

    def forward(
        self,
        logits: Tensor,
        target: SparseHeatmap,
        avg_factor: Tensor | float,
        positives: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Compute the sum over all cells, divided by ``avg_factor``, times ``loss_weight``.

        Raises:
            UserError: if the objects of each class are needed and were not counted.
        """
        if self.needs_class_counts and self.class_counts is None:
            raise UserError(
                "the heatmap's loss weights or samples classes by their number of objects, which "
                'was not counted: train with tools/train.py, or add dict(type='
                "'mmdet_centernet.ClassCountsHook') to custom_hooks")
        class_weight = self.class_weight
        if self.federated is not None:
            trained = self._sample_classes(target).float()
            class_weight = trained if class_weight is None else class_weight * trained
        loss = gaussian_focal_loss(
            logits, target, self.alpha, self.gamma, self.min_probability, self.pos_weight,
            self.neg_weight, class_weight, positives)
        return loss / avg_factor * self.loss_weight

    @property
    def needs_class_counts(self) -> bool:
        """Ask for :meth:`use_class_counts` before training."""
        return self.balanced or self.federated is not None

    def use_class_counts(self, counts: Tensor) -> None:
        """Take the number of training objects of each class [C], on the device of the logits."""
        self.class_counts = counts.float()
        if self.balanced:
            weight = self.class_counts.clamp(min=1).rsqrt()
            mean = (weight * self.class_counts).sum() / self.class_counts.sum().clamp(min=1)
            self.class_weight = weight / mean

    def _sample_classes(self, target: SparseHeatmap) -> Tensor:
        """Return the classes [C] (bool) that a batch trains; see ``federated``."""
        assert self.federated is not None and self.class_counts is not None
        _, channels, height, width = target.shape
        plane = target.positions.div(height * width, rounding_mode='floor')
        present = torch.zeros(channels, device=plane.device).index_add_(
            0, plane % channels, (target.value == 1).float()) > 0
        # Adding Gumbel noise to log-probabilities and taking the largest is sampling without
        # replacement, and needs no value on the host.
        noise = -torch.empty_like(self.class_counts).exponential_().log()
        key = self.federated.power * self.class_counts.clamp(min=1e-12).log() + noise
        key = key.masked_fill(present, torch.inf)
        chosen = key.topk(min(self.federated.num_classes, channels)).indices
        return present.index_fill(0, chosen, True)
