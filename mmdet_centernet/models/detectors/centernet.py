"""CenterNet, the detector."""
from collections.abc import Mapping
from typing import Any

import torch
from mmdet import registry as mmdet_registry
from mmdet.models.detectors.single_stage import SingleStageDetector
from mmdet.structures import DetDataSample
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.data_preprocessors.centernet_data_preprocessor import COLOR_MATRIX
from mmdet_centernet.registry import MODELS

# Side of the image that a backbone without `out_channels` is measured with, px. Hourglass networks
# need multiples of 128.
_PROBE = 128


def describe_backbone(config: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """Return the channels and the strides of a backbone's features.

    The backbone is built, without its pretrained weights, and, unless it names them itself as
    ``out_channels`` and ``out_strides``, measured with one image. The state of the random number
    generator does not change.

    Args:
        config (Mapping): ``model.backbone`` of a config.

    Raises:
        UserError: if the backbone cannot compute features of an image.
    """
    with torch.random.fork_rng(devices=()):
        backbone = mmdet_registry.MODELS.build(dict(config))
    channels, strides = (
        getattr(backbone, name, None) for name in ('out_channels', 'out_strides'))
    if isinstance(channels, list) and isinstance(strides, list):
        return channels, strides
    backbone.eval()  # some of mmdet's return None
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            features = backbone(torch.zeros(1, 3, _PROBE, _PROBE))
        return [x.shape[1] for x in features], [_PROBE // x.shape[3] for x in features]
    except Exception as error:
        raise UserError(
            f'channels and strides of the backbone {config["type"]} cannot be read ({error}): '
            'set in_channels, and in_strides if it has them, of the neck') from error


def _complete_neck(neck: dict[str, Any], backbone: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a neck with the backbone's numbers for those that are None."""
    unknown = [name for name in ('in_channels', 'in_strides')
               if name in neck and neck[name] is None]
    if not unknown:
        return neck
    channels, strides = describe_backbone(backbone)
    values = dict(in_channels=channels, in_strides=strides)
    return dict(neck, **{name: values[name] for name in unknown})


@MODELS.register_module()
class CenterNet(SingleStageDetector):
    """CenterNet (Objects as Points, arXiv:1904.07850): a backbone, a neck and one head.

    ``model(inputs, mode='tensor')`` returns ``([outputs of stack, ...],)``: for each stack a
    dict that maps branch names to logits and raw regressions.

    Args:
        backbone (dict): config of the backbone.
        neck (dict, optional): config of the neck. Its ``in_channels`` and ``in_strides`` may be
            None: they are read from the backbone.
        **kwargs: ``bbox_head``, ``train_cfg``, ``test_cfg``, ``data_preprocessor`` and
            ``init_cfg``, as in ``mmdet.SingleStageDetector``.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        neck: dict[str, Any] | None = None,
        bbox_head: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if neck is not None:
            neck = _complete_neck(neck, backbone)
        super().__init__(backbone, neck, bbox_head, **kwargs)

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
