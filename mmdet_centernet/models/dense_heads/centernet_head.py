"""2D boxes: centre heat map, size, offset."""
import torch
from mmcv.ops import batched_nms
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from mmengine.structures import InstanceData
from torch import Tensor

from ...registry import MODELS
from .base_center_head import BaseCenterHead


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
        test_cfg (dict): ``max_per_img`` (100) detections per image; ``topk``, peaks that
            are decoded (``max_per_img`` unless more are wanted before NMS);
            ``local_maximum_kernel`` (3); ``score_thr`` (0), detections must score more;
            ``nms`` (None), a config of mmcv's ``batched_nms``.
        num_stacks, train_cfg, init_cfg: see :class:`BaseCenterHead`.
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
        **kwargs,
    ) -> None:
        super().__init__(
            branches=dict(heatmap=num_classes, wh=2, offset=2),
            in_channels=in_channels,
            feat_channels=feat_channels,
            coder=coder or dict(type='mmdet_centernet.CenterNetBoxCoder'),
            **kwargs,
        )
        self.num_classes = num_classes
        self.losses = self.build_losses(
            heatmap=loss_center_heatmap or dict(type='mmdet_centernet.GaussianFocalLoss'),
            wh=loss_wh or dict(type='mmdet.L1Loss', loss_weight=0.1),
            offset=loss_offset or dict(type='mmdet.L1Loss', loss_weight=1.0),
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
            dict[str, Tensor]: ``loss_center_heatmap``, ``loss_wh``, ``loss_offset``.
        """
        targets = self.coder.encode(
            [instances.bboxes for instances in batch_gt_instances],
            [instances.labels for instances in batch_gt_instances],
            tuple(outputs[-1]['heatmap'].shape),
        )
        peaks = self._at_least_one(targets.heatmap.num_peaks())
        width = outputs[-1]['heatmap'].shape[-1]
        y, x = targets.cells.div(width, rounding_mode='floor'), targets.cells % width
        # The weights are 0 and 1. As an argument, mmdet's losses would look at them on the host.
        weight = targets.weight[:, None]
        losses = dict.fromkeys(('loss_center_heatmap', 'loss_wh', 'loss_offset'), 0)
        for output in outputs:
            losses['loss_center_heatmap'] += self.heatmap_loss(
                self.losses['heatmap'], output['heatmap'], targets.heatmap, peaks)
            for name in ('wh', 'offset'):
                at_centers = output[name][targets.images, :, y, x]
                losses[f'loss_{name}'] += self.losses[name](
                    at_centers * weight, getattr(targets, name) * weight, avg_factor=2 * peaks)
        return losses

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
            the image.
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
        # Scores fall, so that counting is selecting; here the device is waited for, once.
        counts = (scores > cfg.get('score_thr', 0.0)).sum(dim=1).tolist()
        results = []
        for boxes, score, label, count in zip(bboxes, scores, labels, counts, strict=True):
            boxes, score, label = boxes[:count], score[:count], label[:count]
            if cfg.get('nms') and len(boxes):
                scored, kept = batched_nms(boxes, score, label, cfg['nms'])
                boxes, score, label = scored[:, :4], scored[:, 4], label[kept]
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
    def _at_least_one(count: Tensor) -> Tensor:
        """The mean over processes of a count, such that the whole batch counts 1 at least.

        DistributedDataParallel averages gradients over processes, so that dividing by the
        mean count gives what one process would compute from the whole batch.
        """
        return reduce_mean(count).clamp(min=1 / get_world_size())
