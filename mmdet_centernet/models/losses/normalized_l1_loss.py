"""L1 loss relative to the target."""
import torch
from mmdet.models.losses.utils import weight_reduce_loss
from torch import Tensor, nn

from ...registry import MODELS


@MODELS.register_module()
class NormalizedL1Loss(nn.Module):
    """``|pred / (target + eps) - 1|``: an error counts in proportion to the size.

    The original's ``--norm_wh``. A large object's size is then learnt no harder than a small
    one's. Targets are expected to be positive.

    Args:
        eps (float): in the targets' unit; the original's 1e-4.
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
        """The interface of MMDetection's losses.

        Args:
            pred, target (Tensor[N, 2]): sizes.
            weight (Tensor[N, 2], optional): of each error.
            avg_factor (Tensor | float, optional): the sum is divided by it, else by the
                number of errors.
            reduction_override (str, optional): ``'none'``, ``'mean'`` (default), ``'sum'``.

        Returns:
            Tensor: 0-d, or as ``pred`` for ``'none'``.
        """
        error = torch.abs(pred / (target + self.eps) - 1)
        return self.loss_weight * weight_reduce_loss(
            error, weight, reduction_override or 'mean', avg_factor)
