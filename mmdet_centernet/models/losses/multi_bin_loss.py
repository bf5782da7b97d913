"""Loss of angles in two overlapping bins."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdet_centernet.ops.multi_bin import BIN_CENTERS, CHANNELS_PER_BIN
from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class MultiBinLoss(nn.Module):
    """Cross-entropy of "is the angle in this bin", and smooth L1 of sine and cosine in each bin.

    Source: Objects as Points, Sec. 4.1 "3D detection".

    Args:
        loss_weight (float): factor of the result.
        beta (float): error at which smooth L1 turns from quadratic to linear.
    """

    def __init__(self, loss_weight: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.beta = beta

    def forward(
        self, pred: Tensor, target: Tensor, reduction_override: str = 'none'
    ) -> Tensor:
        """Compute the three terms of each angle's loss.

        The terms of a bin that the angle is not in have to be weighted by 0: they are averaged
        over the angles in the bin.

        Args:
            pred (Tensor[N, 2, 4] | Tensor[N, 8]): see :mod:`mmdet_centernet.ops.multi_bin`.
            target (Tensor[N, 2, 3]): as :func:`mmdet_centernet.ops.multi_bin.encode_angles`
                returns it.
            reduction_override (str): only ``'none'``.

        Returns:
            Tensor[N, 3]: the cross-entropies' sum, and the residual loss in each bin; float32.

        Raises:
            ValueError: for another reduction.
        """
        if reduction_override != 'none':
            raise ValueError(f"MultiBinLoss returns its terms; reduction_override = "
                             f"'{reduction_override}' must be 'none'.")
        bins = pred.float().reshape(-1, len(BIN_CENTERS), CHANNELS_PER_BIN)
        # -log softmax of one of two logits
        margin = bins[..., 1] - bins[..., 0]
        entropy = F.softplus(torch.where(target[..., 0] > 0, -margin, margin))
        residual = F.smooth_l1_loss(
            bins[..., 2:], target[..., 1:], reduction='none', beta=self.beta).sum(dim=-1)
        return torch.cat((entropy.sum(dim=1, keepdim=True), residual), dim=1) * self.loss_weight
