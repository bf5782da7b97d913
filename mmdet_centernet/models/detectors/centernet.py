"""The detector."""
import torch
from mmdet.models.detectors.single_stage import SingleStageDetector
from torch import Tensor

from ...errors import UserError
from ...registry import MODELS
from ..data_preprocessors.centernet_data_preprocessor import COLOR_MATRIX


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

    def loss(self, batch_inputs: Tensor, batch_data_samples: list) -> dict:
        """Losses of a batch.

        Raises:
            UserError: if colours wait to be changed, which the data preprocessor did not do.
        """
        if any(COLOR_MATRIX in sample for sample in batch_data_samples):
            raise UserError(
                'ColorJitterPCA(on_device=True) leaves the colours to the data preprocessor, but '
                'that of the model does not change them: set model.data_preprocessor.type to '
                'mmdet_centernet.CenterNetDataPreprocessor')
        return super().loss(batch_inputs, batch_data_samples)
