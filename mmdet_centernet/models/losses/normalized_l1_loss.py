"""L1 loss relative to the target."""
import torch
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class NormalizedL1Loss(nn.Module):
    """Relative L1 loss, ``|pred / (target + eps) - 1|``.

    An error counts in proportion to the size, so that large objects do not dominate
    (``--norm_wh`` of the original implementation). Targets should be positive.

    Args:
        eps (float): in the unit of the targets; 1e-4 in the original.
        loss_weight (float): factor of the result.
    """

    def __init__(self, eps: float = 1e-4, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: Tensor | float | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """Compute the loss, with the interface of MMDetection's losses.

        Args:
            pred, target (Tensor[N, 2]): sizes.
            weight (Tensor[N, 2], optional): weight of each error.
            avg_factor (Tensor | float, optional): divisor of the sum; by default the number of
                errors.
            reduction_override (str, optional): ``'none'``, ``'mean'`` (default), ``'sum'``.

        Returns:
            Tensor: 0-d, or of the shape of ``pred`` for ``'none'``.
        """
        error = torch.abs(pred / (target + self.eps) - 1)
        return self.loss_weight * weight_reduce_loss(
            error, weight, reduction_override or 'mean', avg_factor)
