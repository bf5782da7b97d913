"""Losses of heatmap and cell targets, averaged over their counts."""
from torch import Tensor, nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.target import CellTarget, HeatmapTarget


def heatmap_loss(
    loss: nn.Module, logits: Tensor, target: HeatmapTarget, divisor: Tensor
) -> Tensor:
    """Apply a heatmap loss to logits [B, C, H, W].

    Args:
        loss (nn.Module): one of this package (logits, sparse target) or with MMDetection's
            interface (probabilities, dense target).
    """
    if target.ignored is not None:
        # Far below 0 a cell costs nothing and has no gradient.
        logits = logits.masked_fill(target.ignored, -1e4)
    if getattr(loss, 'takes_logits', False):
        return loss(logits, target.heatmap, avg_factor=divisor, positives=target.positives)
    if target.positives is not None:
        raise UserError('more positives of the heatmap than its peaks need '
                        'loss_center_heatmap=dict(type="mmdet_centernet.GaussianFocalLoss"), '
                        f'not {type(loss).__name__}')
    return loss(logits.sigmoid(), target.heatmap.to_dense(), avg_factor=divisor)


def cell_loss(loss: nn.Module, pred: Tensor, target: CellTarget, divisor: Tensor) -> Tensor:
    """Average the loss of predictions [M, ..., D]; see :class:`CellTarget` for the formula.

    The weights are an argument of losses with ``takes_weight`` alone: MMDetection's would read
    them on the host.

    Args:
        divisor (Tensor): ``target.count``, averaged over the processes.
    """
    weight = target.weight
    if not weight.numel():  # 0, with a gradient, which losses of nothing do not all have
        return pred.sum()
    options = dict(weight=weight) if getattr(loss, 'takes_weight', False) else {}
    values = loss(pred, target.values, reduction_override='none', **options)
    terms = 1
    if values.dim() > weight.dim():
        weight, terms = weight[..., None], values.shape[-1]
    values = values * weight
    if divisor.dim():
        return (values.sum(dim=0) / (divisor + target.eps)).sum()
    return values.sum() / (terms * divisor + target.eps)
