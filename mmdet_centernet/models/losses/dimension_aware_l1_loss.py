"""L1 loss of dimensions, relative to them."""
import torch
from torch import Tensor, nn

from mmdet_centernet.registry import MODELS

BASES = ('target', 'prediction')
LEAST = 0.01  # meters; smaller dimensions are divided by it


@MODELS.register_module()
class DimensionAwareL1Loss(nn.Module):
    """Relative L1 loss of dimensions, scaled to the mean of the plain L1 loss.

    ``c |d - d*| / d``, with the c of a batch that gives both losses the same sum. (MonoDLE: an
    error of 10 cm in the length of a car matters less than in its height.) Only the proportions
    between height, width and length, and between large and small objects, differ from L1.

    Args:
        relative_to (str): ``'target'``, as in MonoDLE, or ``'prediction'``, without a gradient
            through it, as in MonoCon.
        loss_weight (float): factor of the result.

    Raises:
        ValueError: for another ``relative_to``.
    """

    #: :func:`mmdet_centernet.models.losses.target_loss.cell_loss` passes the entries' weights.
    takes_weight = True

    def __init__(self, relative_to: str = 'target', loss_weight: float = 1.0) -> None:
        super().__init__()
        if relative_to not in BASES:
            raise ValueError(f"relative_to = '{relative_to}' must be one of {BASES}.")
        self.relative_to = relative_to
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, weight: Tensor, reduction_override: str = 'none'
    ) -> Tensor:
        """Compute the loss of each dimension, not multiplied by the weights.

        Args:
            pred, target (Tensor[N, 3]): meters.
            weight (Tensor[N]): of the objects, for c alone.
            reduction_override (str): must be ``'none'``.

        Returns:
            Tensor[N, 3]

        Raises:
            ValueError: for another reduction.
        """
        if reduction_override != 'none':
            raise ValueError(f"DimensionAwareL1Loss returns the loss of each value; "
                             f"reduction_override = '{reduction_override}' must be 'none'.")
        pred = pred.float()
        error = (pred - target).abs()
        base = target if self.relative_to == 'target' else pred.detach().abs()
        relative = error / base.clamp(min=LEAST)
        with torch.no_grad():
            plain, scaled = ((weight[:, None] * each).sum() for each in (error, relative))
            factor = torch.where(scaled > 0, plain / scaled, 1.0)
        return relative * factor * self.loss_weight
