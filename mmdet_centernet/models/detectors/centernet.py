"""The detector."""
import torch
from mmdet.models.detectors.single_stage import SingleStageDetector
from torch import Tensor

from ...registry import MODELS


@MODELS.register_module()
class CenterNet(SingleStageDetector):
    """CenterNet (Objects as Points, arXiv:1904.07850): backbone, neck, one head.

    ``model(inputs, mode='tensor')`` gives ``([outputs of stack, ...],)``: per stack a dict
    of logits and raw regressions by branch name.

    Args:
        backbone, neck, bbox_head, train_cfg, test_cfg, data_preprocessor, init_cfg: as in
            ``mmdet.SingleStageDetector``.
    """

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Images [B, 3, H, W] to the features that the head takes."""
        if batch_inputs.device.type == 'cpu':
            # oneDNN's convolutions on channels-last maps train two to three times faster,
            # the gradients of depthwise ones above all.
            batch_inputs = batch_inputs.contiguous(memory_format=torch.channels_last)
        return super().extract_feat(batch_inputs)
