"""2D boxes: centre heat map, size, offset."""
import torch
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from mmengine.structures import InstanceData
from torch import Tensor

from ...registry import MODELS
from ..task_modules.box_coder import BoxTargets
from ..task_modules.suppression import suppress
from .base_center_head import BaseCenterHead

NORMALIZERS = ('peaks', 'objects')
OBJECTS_EPS = 1e-4  # of the original's divisors, for batches without objects


@MODELS.register_module()
class CenterNetHead(BaseCenterHead):
    """Head for 2D boxes (Objects as Points, Sec. 3 and 4).

    ``loss = focal(heatmap) + 0.1 L1(wh) + L1(offset)``, each over the number of objects of
    the whole batch, on all processes together.

    Args:
        num_classes (int): C.
        in_channels (int): channels of the features.
        feat_channels (int): channels inside the branches.
        coder (dict): config of a :class:`CenterNetBoxCoder`.
        loss_center_heatmap (dict): heat-map loss: on logits as
            ``mmdet_centernet.GaussianFocalLoss``, or one of MMDetection's, which then gets
            probabilities and a dense target.
        loss_wh (dict): loss of the size, over objects, in cells.
        loss_offset (dict): loss of the offset, over objects, in cells.
        loss_bbox (dict, optional): instead of ``loss_wh``, a loss of MMDetection's between
            boxes, such as ``mmdet.GIoULoss``, on the boxes that size and offset make at the
            objects' cells, xyxy in cells.
        wh_per_class (bool): a size of its own for each class (2 C channels), of which an
            object teaches only its class's.
        normalizer (str): what the losses are divided by. ``'peaks'``: the cells of the heat
            map that are a centre, at least 1, times a regression's channels (as in
            MMDetection). ``'objects'``: regressions by channels times the objects that they
            are learnt from, plus 1e-4 (as in the original).
        test_cfg (dict): ``max_per_img`` (100) detections per image; ``topk``, peaks that
            are decoded (``max_per_img`` unless more are wanted before NMS);
            ``local_maximum_kernel`` (3); ``score_thr`` (0), detections must score more;
            ``nms`` (None), see :func:`suppress`; ``clip_boxes`` (False), boxes are cut to
            the image.
        num_stacks, norm_cfg, train_cfg, init_cfg: see :class:`BaseCenterHead`.

    Raises:
        ValueError: for an unknown normalizer, two losses of the size, or ``loss_bbox``
            together with sizes learnt around centres.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        coder: dict | None = None,
        loss_center_heatmap: dict | None = None,
        loss_wh: dict | None = None,
        loss_offset: dict | None = None,
        loss_bbox: dict | None = None,
        wh_per_class: bool = False,
        normalizer: str = 'peaks',
        **kwargs,
    ) -> None:
        if normalizer not in NORMALIZERS:
            raise ValueError(f"normalizer = '{normalizer}' must be one of {NORMALIZERS}.")
        if loss_wh and loss_bbox:
            raise ValueError(
                'loss_wh and loss_bbox are both given, but the size has one loss: set '
                'loss_wh=None to learn it by the boxes.')
        super().__init__(
            branches=dict(
                heatmap=num_classes, wh=2 * num_classes if wh_per_class else 2, offset=2),
            in_channels=in_channels,
            feat_channels=feat_channels,
            coder=coder or dict(type='mmdet_centernet.CenterNetBoxCoder'),
            **kwargs,
        )
        if loss_bbox and self.coder.dense_wh:
            raise ValueError(
                'loss_bbox needs boxes, which cells around a centre have not: leave out '
                'dense_wh=True of the coder, or use loss_wh.')
        self.num_classes = num_classes
        self.wh_per_class = wh_per_class
        self.normalizer = normalizer
        size_loss = dict(bbox=loss_bbox) if loss_bbox else dict(
            wh=loss_wh or dict(type='mmdet.L1Loss', loss_weight=0.1))
        self.losses = self.build_losses(
            heatmap=loss_center_heatmap or dict(type='mmdet_centernet.GaussianFocalLoss'),
            offset=loss_offset or dict(type='mmdet.L1Loss', loss_weight=1.0),
            **size_loss,
        )

    def loss_by_feat(
        self,
        outputs: list[dict[str, Tensor]],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """Losses, summed over the stacks.

        Args:
            outputs (list[dict]): of :meth:`forward`, one per stack.
            batch_gt_instances (list[InstanceData]): ``bboxes`` [N, 4] xyxy in input
                pixels, ``labels`` [N].
            batch_img_metas (list[dict]): not needed.
            batch_gt_instances_ignore (list[InstanceData], optional): not used: what is
                ignored (crowds) is background here.

        Returns:
            dict[str, Tensor]: ``loss_center_heatmap``, ``loss_offset`` and ``loss_wh`` or
            ``loss_bbox``.
        """
        targets = self.coder.encode(
            [instances.bboxes for instances in batch_gt_instances],
            [instances.labels for instances in batch_gt_instances],
            tuple(outputs[-1]['heatmap'].shape),
        )
        peaks = self._at_least_one(targets.heatmap.num_peaks())
        if self.normalizer == 'objects':
            objects = reduce_mean(targets.weight.sum())
            channels_divisor = 2 * objects + OBJECTS_EPS
            box_divisor = objects + OBJECTS_EPS
        else:
            channels_divisor, box_divisor = 2 * peaks, peaks
        width = outputs[-1]['heatmap'].shape[-1]
        cells = targets.images, targets.cells, width
        losses: dict[str, Tensor] = {}

        def add(name: str, value: Tensor) -> None:
            losses[f'loss_{name}'] = losses.get(f'loss_{name}', 0) + value

        for output in outputs:
            add('center_heatmap', self.heatmap_loss(
                self.losses['heatmap'], output['heatmap'], targets.heatmap, peaks))
            offset = self._at(output['offset'], *cells)
            add('offset', self._regression_loss(
                'offset', offset, targets.offset, targets.weight, channels_divisor))
            if targets.dense_wh is not None:
                add('wh', self._dense_wh_loss(output['wh'], targets))
                continue
            wh = self._of_label(self._at(output['wh'], *cells), targets.labels)
            if 'bbox' in self.losses:
                add('bbox', self._regression_loss(
                    'bbox', self._boxes(offset, self._positive(wh)),
                    self._boxes(targets.offset, targets.wh), targets.weight, box_divisor))
            else:
                add('wh', self._regression_loss(
                    'wh', wh, targets.wh, targets.weight, channels_divisor))
        return losses

    def _regression_loss(
        self, name: str, pred: Tensor, target: Tensor, weight: Tensor, divisor: Tensor
    ) -> Tensor:
        """Weighted sum over objects [N, channels] of a loss, over ``divisor``.

        The weights [N] are no argument of the loss: MMDetection's would look at them on the
        host.
        """
        if not len(weight):  # 0, with a gradient, which losses of no boxes do not all have
            return pred.sum()
        loss = self.losses[name](pred, target, reduction_override='none')
        return (loss * (weight if loss.dim() == 1 else weight[:, None])).sum() / divisor

    def _dense_wh_loss(self, wh: Tensor, targets: BoxTargets) -> Tensor:
        """Loss of the sizes around centres, over the sum of the cells' weights."""
        positions, owner, weight = targets.dense_wh
        area, width = wh.shape[-2] * wh.shape[-1], wh.shape[-1]
        pred = self._at(wh, positions.div(area, rounding_mode='floor'), positions % area, width)
        divisor = reduce_mean(2 * weight.sum()) + OBJECTS_EPS
        return self._regression_loss(
            'wh', self._of_label(pred, targets.labels[owner]), targets.wh[owner], weight, divisor)

    @staticmethod
    def _at(values: Tensor, images: Tensor, cells: Tensor, width: int) -> Tensor:
        """What a map [B, channels, H, W] holds at cells of images, [N, channels]."""
        return values[images, :, cells.div(width, rounding_mode='floor'), cells % width]

    def _of_label(self, wh: Tensor, labels: Tensor) -> Tensor:
        """The size of each object's own class, [N, 2 C] to [N, 2]; sizes of any class stay."""
        if not self.wh_per_class:
            return wh
        index = labels[:, None, None].expand(-1, -1, 2)
        return wh.unflatten(1, (-1, 2)).gather(1, index).squeeze(1)

    @staticmethod
    def _positive(wh: Tensor) -> Tensor:
        """Sizes of at least a hundredth of a cell, with the gradient of the size itself.

        Below zero a box is inside out, and an IoU would tell it to become more so.
        """
        return wh + (wh.clamp(min=0.01) - wh).detach()

    @staticmethod
    def _boxes(center: Tensor, wh: Tensor) -> Tensor:
        return torch.cat((center - wh / 2, center + wh / 2), dim=1)

    def predict_by_feat(
        self,
        outputs: list[dict[str, Tensor]],
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> list[InstanceData]:
        """Detections of the last stack.

        Args:
            outputs (list[dict]): of :meth:`forward`.
            batch_img_metas (list[dict]): ``homography_matrix`` (or ``border`` and
                ``scale_factor``) of each image.
            rescale (bool): boxes in pixels of the original image, else of the input.

        Returns:
            list[InstanceData]: ``bboxes`` [n, 4] xyxy, ``scores`` [n] best first,
            ``labels`` [n] of each image, n <= ``max_per_img``. Boxes are not clipped to
            the image unless ``clip_boxes`` asks for it.
        """
        cfg = self.test_cfg or {}
        max_per_img = cfg.get('max_per_img', 100)
        bboxes, scores, labels = self.coder.decode(
            **outputs[-1],
            topk=cfg.get('topk', max_per_img),
            local_maximum_kernel=cfg.get('local_maximum_kernel', 3),
        )
        if rescale:
            bboxes = self._transform(bboxes, self.input_to_original(batch_img_metas, bboxes))
        if cfg.get('clip_boxes', False):
            bboxes = self._clip(bboxes, batch_img_metas, 'ori_shape' if rescale else 'img_shape')
        # Scores fall, so that counting is selecting; here the device is waited for, once.
        counts = (scores > cfg.get('score_thr', 0.0)).sum(dim=1).tolist()
        results = []
        for boxes, score, label, count in zip(bboxes, scores, labels, counts, strict=True):
            boxes, score, label = boxes[:count], score[:count], label[:count]
            if cfg.get('nms') and len(boxes):
                boxes, score, label = suppress(boxes, score, label, cfg['nms'])
            results.append(InstanceData(
                bboxes=boxes[:max_per_img], scores=score[:max_per_img],
                labels=label[:max_per_img]))
        return results

    @staticmethod
    def _transform(bboxes: Tensor, matrices: Tensor) -> Tensor:
        """Boxes [B, K, 4] through affine matrices [B, 3, 3]; upright boxes around the result.

        Centres are mapped and half sizes scaled, so that left stays left through a flip, and
        a predicted size below zero stays what it is.
        """
        corner, opposite = bboxes[..., :2], bboxes[..., 2:]
        linear = matrices[:, :2, :2].mT
        center = (corner + opposite) / 2 @ linear + matrices[:, None, :2, 2]
        half = (opposite - corner) / 2 @ linear.abs()
        return torch.cat((center - half, center + half), dim=-1)

    @staticmethod
    def _clip(bboxes: Tensor, batch_img_metas: list[dict], shape: str) -> Tensor:
        """Boxes [B, K, 4] cut to [0, width] x [0, height] of each image's ``shape``."""
        sizes = [meta[shape][:2] for meta in batch_img_metas]
        upper = bboxes.new_tensor([(w, h, w, h) for h, w in sizes])[:, None]
        return bboxes.clamp(min=0).minimum(upper)

    @staticmethod
    def _at_least_one(count: Tensor) -> Tensor:
        """The mean over processes of a count, such that the whole batch counts 1 at least.

        DistributedDataParallel averages gradients over processes, so that dividing by the
        mean count gives what one process would compute from the whole batch.
        """
        return reduce_mean(count).clamp(min=1 / get_world_size())
