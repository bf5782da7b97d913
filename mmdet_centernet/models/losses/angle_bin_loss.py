"""Loss of angles as one of many bins."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class AngleBinLoss(nn.Module):
    """Loss of angles as one of N bins (MonoDLE).

    The cross-entropy of the bins, and the L1 loss of the residual of the true bin.

    Args:
        loss_weight (float): factor of the result.
        residual_weight (float): factor of the residual's loss.
    """

    def __init__(self, loss_weight: float = 1.0, residual_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.residual_weight = residual_weight

    def forward(
        self, pred: Tensor, target: Tensor, reduction_override: str = 'none'
    ) -> Tensor:
        """Compute the two terms of each angle's loss.

        Args:
            pred (Tensor[M, 2 N]): see :mod:`mmdet_centernet.ops.angle_bins`.
            target (Tensor[M, 2]): bins and residuals, radians.
            reduction_override (str): must be ``'none'``.

        Returns:
            Tensor[M, 2]: cross-entropy, and loss of the residual; float32.

        Raises:
            ValueError: for another reduction.
        """
        if reduction_override != 'none':
            raise ValueError(f"AngleBinLoss returns its terms; reduction_override = "
                             f"'{reduction_override}' must be 'none'.")
        logits, residual = pred.float().chunk(2, dim=1)
        index = target[:, :1].long()
        entropy = F.cross_entropy(logits, index[:, 0], reduction='none')
        error = (residual.gather(1, index)[:, 0] - target[:, 1]).abs() * self.residual_weight
        return torch.stack((entropy, error), dim=1) * self.loss_weight
