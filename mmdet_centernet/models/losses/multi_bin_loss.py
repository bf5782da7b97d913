"""Loss of angles that are encoded in two overlapping bins."""
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmdet_centernet.ops.multi_bin import BIN_CENTERS, CHANNELS_PER_BIN
from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class MultiBinLoss(nn.Module):
    """Loss of angles in two overlapping bins (Objects as Points, Sec. 4.1 "3D detection").

    For each bin, the cross-entropy of "the angle is in this bin", and the smooth L1 loss of the
    sine and cosine of the angle inside it.

    Args:
        loss_weight (float): factor of the result.
        beta (float): error at which smooth L1 changes from quadratic to linear.
    """

    def __init__(self, loss_weight: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.beta = beta

    def forward(
        self, pred: Tensor, target: Tensor, reduction_override: str = 'none'
    ) -> Tensor:
        """Compute the three terms of each angle's loss.

        The caller has to weight the terms of a bin that does not contain the angle by 0,
        because they are averaged over the angles in the bin.

        Args:
            pred (Tensor[N, 2, 4] | Tensor[N, 8]): see :mod:`mmdet_centernet.ops.multi_bin`.
            target (Tensor[N, 2, 3]): see :func:`mmdet_centernet.ops.multi_bin.encode_angles`.
            reduction_override (str): must be ``'none'``.

        Returns:
            Tensor[N, 3]: the sum of the cross-entropies, and the residual loss in each bin;
            float32.

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
