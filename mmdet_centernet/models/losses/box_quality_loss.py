"""Loss of a predicted quality of boxes."""
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor, nn
from torch.nn import functional as F

from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class BoxQualityLoss(nn.Module):
    """Binary cross-entropy between a quality and the IoU that the model's own box has.

    The IoU has no gradient: the quality learns to judge boxes, and does not change them.

    Args:
        loss_weight (float): factor of the result.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self, pred: Tensor, target: Tensor, reduction_override: str | None = None
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred (Tensor[M, 5]): logit of the quality, and the model's box, xyxy.
            target (Tensor[M, 4]): the objects' boxes, xyxy, same unit.
            reduction_override (str, optional): ``'none'`` for [M] values, else their mean.
        """
        overlap = bbox_overlaps(pred[:, 1:].detach().float(), target, is_aligned=True)
        loss = F.binary_cross_entropy_with_logits(
            pred[:, 0].float(), overlap, reduction='none') * self.loss_weight
        return loss if reduction_override == 'none' else loss.mean()
