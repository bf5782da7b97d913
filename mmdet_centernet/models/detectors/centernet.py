"""CenterNet, the detector."""
import torch
from mmdet.models.detectors.single_stage import SingleStageDetector
from mmdet.structures import DetDataSample
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.data_preprocessors.centernet_data_preprocessor import COLOR_MATRIX
from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class CenterNet(SingleStageDetector):
    """CenterNet (Objects as Points, arXiv:1904.07850): a backbone, a neck and one head.

    ``model(inputs, mode='tensor')`` returns ``([outputs of stack, ...],)``: for each stack a
    dict that maps branch names to logits and raw regressions.

    Args:
        backbone, neck, bbox_head, train_cfg, test_cfg, data_preprocessor, init_cfg: as in
            ``mmdet.SingleStageDetector``.
    """

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the head's input features of images [B, 3, H, W]."""
        if batch_inputs.device.type == 'cpu':
            # oneDNN's convolutions train two to three times faster on channels-last maps,
            # above all the gradients of depthwise ones.
            batch_inputs = batch_inputs.contiguous(memory_format=torch.channels_last)
        return super().extract_feat(batch_inputs)

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch; see :meth:`check_samples` for errors."""
        self.check_samples(batch_data_samples)
        return super().loss(batch_inputs, batch_data_samples)

    @staticmethod
    def check_samples(batch_data_samples: list[DetDataSample]) -> None:
        """Check that the data preprocessor applied the color matrices of samples.

        Raises:
            UserError: if it did not.
        """
        if any(COLOR_MATRIX in sample for sample in batch_data_samples):
            raise UserError(
                'ColorJitterPCA(on_device=True) leaves the colors to the data preprocessor, but '
                'that of the model does not change them: set model.data_preprocessor.type to '
                'mmdet_centernet.CenterNetDataPreprocessor')
