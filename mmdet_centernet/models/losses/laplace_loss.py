"""Regression with a predicted uncertainty."""
import math

from torch import Tensor, nn

from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class LaplaceLoss(nn.Module):
    """Negative log-likelihood of a Laplace distribution, up to a constant (MonoDLE).

    ``sqrt(2) exp(-s) |z - z*| + s`` for a prediction z with s, the logarithm of the standard
    deviation. Where errors are large, the network learns to predict a large s, and errors that it
    cannot avoid cost less. The loss may be negative.

    Args:
        loss_weight (float): factor of the result.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, reduction_override: str = 'none'
    ) -> Tensor:
        """Compute the loss of each prediction.

        Args:
            pred (Tensor[N, 2]): z and s.
            target (Tensor[N, 1]): z*.
            reduction_override (str): must be ``'none'``.

        Returns:
            Tensor[N, 1]

        Raises:
            ValueError: for another reduction.
        """
        if reduction_override != 'none':
            raise ValueError(f"LaplaceLoss returns the loss of each value; reduction_override = "
                             f"'{reduction_override}' must be 'none'.")
        value, log_spread = pred.split(1, dim=1)
        error = (value - target).abs()
        return (math.sqrt(2) * (-log_spread).exp() * error + log_spread) * self.loss_weight
