"""Flip and multi-scale testing (Objects as Points, Sec. 5)."""
import math
from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.layers.suppression import suppress
from mmdet_centernet.registry import MODELS

# What the original merges scales with.
SOFT_NMS = dict(
    type='soft_nms', iou_threshold=0.5, sigma=0.5, min_score=0.001, method='gaussian', offset=1)


@MODELS.register_module()
class CenterNetTTAModel(BaseTTAModel):
    """A detector that tests each image at several scales, and mirrored.

    At each scale the network sees one batch, images and mirror images (one batch for each size
    of image). The outputs of both are averaged before they are decoded once, see
    :meth:`CenterHead.merge_flipped`. The detections of all scales are merged, class by
    class, by ``nms``; of what is left the best ``max_per_img`` of the detector's ``test_cfg``
    remain. With one scale there is nothing to merge: but for the mirror images it predicts
    what the detector itself predicts.

    The data come from a pipeline that ends in ``TestTimeAug``, with one entry per scale:
    :func:`mmdet_centernet.inference.test_options.apply_test_options` writes it.

    Args:
        module (dict | nn.Module): the detector, or its config.
        scales (Sequence[float], optional): of which the pipeline is built. None: as many
            as the pipeline of the config has.
        flip (bool): mirror the images too.
        nms (dict, optional): how scales are merged, see
            :func:`mmdet_centernet.models.layers.suppression.suppress`. None: all their
            detections are put together as they are.
        data_preprocessor (dict, optional): for a detector that has none.

    Raises:
        UserError: if a scale is not a positive number, or the detector has no centre head.
    """

    def __init__(
        self,
        module: dict | nn.Module,
        scales: Sequence[float] | None = None,
        flip: bool = True,
        nms: dict | None = SOFT_NMS,
        data_preprocessor: dict | None = None,
    ) -> None:
        check_scales(scales)
        super().__init__(module, data_preprocessor)
        head = getattr(self.module, 'bbox_head', None)
        if not isinstance(head, CenterHead):
            raise UserError(
                f'test-time augmentation needs a detector with a head of this package, but '
                f'{type(self.module).__name__} has {type(head).__name__ if head else "none"}: '
                'test it without')
        self.scales = scales
        self.flip = flip
        self.nms = nms

    def test_step(self, data: dict) -> list[DetDataSample]:
        """Detections of a batch of images.

        Args:
            data (dict): ``inputs`` and ``data_samples``, lists with one entry per scale, each
                a list with one entry per image.

        Returns:
            list[DetDataSample]: one per image, with ``pred_instances`` as of the detector.

        Raises:
            UserError: if the pipeline does not give one entry per scale.
        """
        inputs = data['inputs']
        if isinstance(inputs[0], torch.Tensor) or len(inputs) != len(self.scales or inputs):
            raise UserError(
                'the test pipeline does not give one image for each scale of the '
                'CenterNetTTAModel: end it with a TestTimeAug over CenterPad or CenterResize '
                'with these scales, or let tools/test.py --tta write it')
        per_scale = [
            self._predict(of_scale, samples)
            for of_scale, samples in zip(inputs, data['data_samples'], strict=True)]
        return self.merge_preds([list(of_image) for of_image in zip(*per_scale, strict=True)])

    def _predict(
        self, images: list[torch.Tensor], samples: list[DetDataSample]
    ) -> list[DetDataSample]:
        """Detections of images at one scale, in pixels of the original images.

        Images of one size make a batch. Those of different sizes would have to be padded to
        the largest, and something may be found in the padding.
        """
        of_size: dict[tuple, list[int]] = {}
        for index, image in enumerate(images):
            of_size.setdefault(tuple(image.shape), []).append(index)
        results: dict[int, DetDataSample] = {}
        for indices in of_size.values():
            results.update(zip(indices, self._predict_batch(dict(
                inputs=[images[index] for index in indices],
                data_samples=[samples[index] for index in indices])), strict=True))
        return [results[index] for index in range(len(images))]

    def _predict_batch(self, data: dict) -> list[DetDataSample]:
        """Detections of images of one size."""
        data = self.module.data_preprocessor(data, False)
        inputs, samples = data['inputs'], data['data_samples']
        if self.flip:
            inputs = torch.cat((inputs, inputs.flip(-1)))
        head = self.module.bbox_head
        output = head.forward_last(self.module.extract_feat(inputs))
        if self.flip:
            output = head.merge_flipped(output)
        return self.module.add_pred_to_datasample(
            samples, head.predict_output(output, samples, rescale=True))

    def merge_preds(self, data_samples_list: list[list[DetDataSample]]) -> list[DetDataSample]:
        """Merge the detections of all scales.

        Args:
            data_samples_list (list[list[DetDataSample]]): per image, per scale.

        Returns:
            list[DetDataSample]: each image's first one, with the merged detections.
        """
        max_per_img = (self.module.bbox_head.test_cfg or {}).get('max_per_img', 100)
        for first, *others in data_samples_list:
            if not others:
                continue
            instances = InstanceData.cat(
                [sample.pred_instances for sample in (first, *others)])
            if self.nms is None:
                order = instances.scores.argsort(descending=True, stable=True)
                first.pred_instances = instances[order[:max_per_img]]
                continue
            scores, kept = suppress(
                instances.bboxes, instances.scores, instances.labels, self.nms, max_per_img)
            first.pred_instances = instances[kept]
            first.pred_instances.scores = scores
        return [samples[0] for samples in data_samples_list]


def check_scales(scales: Sequence[float] | None) -> None:
    """Raise a UserError unless these are test scales."""
    if scales is None:
        return
    if not isinstance(scales, Sequence) or not scales:
        raise UserError(f'scales={scales!r} must be a list of positive numbers, such as '
                        '(0.5, 1.0, 1.5)')
    for scale in scales:
        if not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
            raise UserError(f'scales has {scale!r}: test scales must be positive numbers, such '
                            'as 0.5, 1 and 1.5')
