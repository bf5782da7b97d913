"""Flip and multi-scale testing (Objects as Points, Sec. 5)."""
from typing import Any

from mmdet.structures import DetDataSample
from mmengine.model import BaseTTAModel
from mmengine.structures import InstanceData
from torch import Tensor, cat, nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.layers.suppression import suppress
from mmdet_centernet.registry import MODELS

# The original implementation's way to merge scales.
SOFT_NMS = dict(
    type='soft_nms', iou_threshold=0.5, sigma=0.5, min_score=0.001, method='gaussian', offset=1)
# The end of two error messages.
ONE_SCALE_IN_3D = 'because the same object has another depth at another scale'


@MODELS.register_module()
class CenterNetTTAModel(BaseTTAModel):
    """Detector that averages an image with its flip, and merges the detections of several scales.

    The test pipeline ends in ``TestTimeAug``, which gives each image once per scale, for example
    by several ``CenterPad`` with different ``scale``. The model flips the network's inputs itself,
    as the original implementation does: at each scale the network sees one batch of images and
    flipped images (one batch per image size), whose outputs are averaged before they are decoded,
    see :meth:`CenterHead.merge_flipped`.

    A pipeline that gives each scale twice, plain and flipped by ``RandomFlip``, as those of
    MMDetection do, says the same; its flipped copies are not read.

    The detections of all scales are merged, class by class, by ``nms``, and the best
    ``max_per_img`` of the detector's ``test_cfg`` are kept. With one scale there is nothing to
    merge.

    Args:
        module (dict | nn.Module): the detector, or its config.
        flip (bool): flip the images even if the pipeline does not.
        nms (dict, optional): how detections of several scales are merged, see
            :func:`mmdet_centernet.models.layers.suppression.suppress`. None: they are put together
            unchanged.
        data_preprocessor (dict, optional): for a detector that has none.

    Raises:
        UserError: if the detector's head is not a :class:`CenterHead`.
    """

    def __init__(
        self,
        module: dict[str, Any] | nn.Module,
        flip: bool = True,
        nms: dict[str, Any] | None = SOFT_NMS,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(module, data_preprocessor)
        head = getattr(self.module, 'bbox_head', None)
        if not isinstance(head, CenterHead):
            raise UserError(
                f'test-time augmentation needs a detector with a head of this package, but '
                f'{type(self.module).__name__} has {type(head).__name__ if head else "none"}: '
                'test it without')
        self.flip = flip
        self.nms = nms

    def test_step(self, data: dict[str, Any]) -> list[DetDataSample]:
        """Predict a batch of images.

        Args:
            data (dict): ``inputs`` and ``data_samples``, lists with one entry per view, each a
                list with one entry per image.

        Returns:
            list[DetDataSample]: one per image, with ``pred_instances`` like the detector's.

        Raises:
            UserError: if the pipeline does not end in ``TestTimeAug``, if it flips only some
                scales or not from left to right, or if 3D boxes are tested at several scales.
        """
        inputs, samples = data['inputs'], data['data_samples']
        if isinstance(inputs[0], Tensor):
            raise UserError(
                'CenterNetTTAModel needs a test pipeline that ends in TestTimeAug: test with the '
                "config's tta_pipeline, or let tools/test.py --tta flip write one")
        is_flipped = [_is_flipped(views) for views in samples]
        scales = [index for index, flipped in enumerate(is_flipped) if not flipped]
        if any(is_flipped) and len(is_flipped) != 2 * len(scales):
            raise UserError(
                f'the tta_pipeline gives {len(scales)} plain and {sum(is_flipped)} flipped views '
                'of each image: give every scale plain and flipped, or only plain, because '
                'CenterNetTTAModel flips images itself')
        head = self.module.bbox_head
        if len(scales) > 1 and 'cam2img' in head.image_inputs:
            raise UserError(
                f'the tta_pipeline gives {len(scales)} scales, which is not for 3D boxes '
                f'({type(head).__name__}), {ONE_SCALE_IN_3D}: give each image once')
        flip = self.flip or any(is_flipped)
        per_scale = [self._predict(inputs[index], samples[index], flip) for index in scales]
        return self.merge_preds([list(of_image) for of_image in zip(*per_scale, strict=True)])

    def _predict(
        self, images: list[Tensor], samples: list[DetDataSample], flip: bool
    ) -> list[DetDataSample]:
        """Predict images at one scale, in pixels of the original images.

        Images of one size make a batch. Those of different sizes would have to be padded to
        the largest, and something could be detected in the padding.
        """
        of_size: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            of_size.setdefault(tuple(image.shape), []).append(index)
        results: dict[int, DetDataSample] = {}
        for indices in of_size.values():
            batch = dict(inputs=[images[index] for index in indices],
                         data_samples=[samples[index] for index in indices])
            results.update(zip(indices, self._predict_batch(batch, flip), strict=True))
        return [results[index] for index in range(len(images))]

    def _predict_batch(self, data: dict[str, Any], flip: bool) -> list[DetDataSample]:
        """Predict images of one size."""
        data = self.module.data_preprocessor(data, False)
        inputs, samples = data['inputs'], data['data_samples']
        if flip:
            inputs = cat((inputs, inputs.flip(-1)))
        head = self.module.bbox_head
        output = head.forward_last(self.module.extract_feat(inputs))
        if flip:
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


def _is_flipped(samples: list[DetDataSample]) -> bool:
    """Return whether a view of a batch shows its images flipped.

    The homography knows it even if the pipeline does not pack ``flip``.
    """
    kinds = set()
    for sample in samples:
        matrix = sample.get('homography_matrix')
        if matrix is not None:
            kinds.add((bool(matrix[0][0] < 0), bool(matrix[1][1] < 0)))
        else:
            direction = sample.get('flip_direction') if sample.get('flip', False) else None
            kinds.add((direction in ('horizontal', 'diagonal'),
                       direction in ('vertical', 'diagonal')))
    if len(kinds) > 1 or (kinds and next(iter(kinds))[1]):
        raise UserError(
            'the tta_pipeline flips some images and others not, or from top to bottom: flip with '
            "dict(type='mmdet.RandomFlip', prob=1.0) in one view and prob=0.0 in the other")
    return next(iter(kinds))[0]
