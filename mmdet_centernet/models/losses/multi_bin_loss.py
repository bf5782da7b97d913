"""Loss of angles in two overlapping bins."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...ops.multi_bin import BIN_CENTERS, CHANNELS_PER_BIN, BinnedAngles
from ...registry import MODELS


@MODELS.register_module()
class MultiBinLoss(nn.Module):
    """Cross-entropy of "is it in this bin", and smooth L1 of sine and cosine for the bins that it
    is in (Objects as Points, Sec. 4.1 "3D detection").

    Args:
        loss_weight (float): factor of the result.
        beta (float): where smooth L1 turns from squares to absolute values.
    """

    def __init__(self, loss_weight: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.beta = beta

    def forward(
        self,
        pred: Tensor,
        target: BinnedAngles,
        weight: Tensor,
        avg_factor: Tensor | float,
        bin_factors: Tensor,
    ) -> Tensor:
        """The loss.

        Args:
            pred (Tensor[N, 8]): see :mod:`mmdet_centernet.ops.multi_bin`.
            target (BinnedAngles): of N angles.
            weight (Tensor[N]): of each angle.
            avg_factor (Tensor | float): what the sum of the cross-entropies is divided by.
            bin_factors (Tensor[2]): and the sums of the other loss in each bin: the number of
                angles that are in it.

        Returns:
            Tensor: 0-d, float32.
        """
        bins = pred.float().unflatten(-1, (len(BIN_CENTERS), CHANNELS_PER_BIN))
        logits, sin_cos = bins[..., :2], bins[..., 2:]
        # -log softmax of one of two logits
        margin = logits[..., 1] - logits[..., 0]
        entropy = F.softplus(torch.where(target.inside, -margin, margin))
        residual = F.smooth_l1_loss(
            sin_cos, target.sin_cos, reduction='none', beta=self.beta).sum(dim=-1)
        residual = torch.where(target.inside, residual, 0.0)
        per_bin = (residual * weight[:, None]).sum(dim=0) / bin_factors
        loss = (entropy * weight[:, None]).sum() / avg_factor + per_bin.sum()
        return loss * self.loss_weight
