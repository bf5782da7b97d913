"""2D boxes: centre heat map, size, offset."""
import torch
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...registry import MODELS
from ..task_modules.box_coder import BoxTargets
from .base_center_head import OBJECTS_EPS, BaseCenterHead

NORMALIZERS = ('peaks', 'objects')


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
        num_stacks, norm_cfg, train_cfg, test_cfg, init_cfg: see :class:`BaseCenterHead`.

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
        peaks = self.at_least_one(reduce_mean(targets.heatmap.num_peaks()))
        if self.normalizer == 'objects':
            objects = reduce_mean(targets.weight.sum())
            channels_divisor = 2 * objects + OBJECTS_EPS
            box_divisor = objects + OBJECTS_EPS
        else:
            channels_divisor, box_divisor = 2 * peaks, peaks
        losses: dict[str, Tensor] = {}

        def add(name: str, value: Tensor) -> None:
            losses[f'loss_{name}'] = losses.get(f'loss_{name}', 0) + value

        for output in outputs:
            add('center_heatmap', self.heatmap_loss(
                self.losses['heatmap'], output['heatmap'], targets.heatmap, peaks))
            offset = self.at_cells(output['offset'], targets.images, targets.cells)
            add('offset', self.regression_loss(
                'offset', offset, targets.offset, targets.weight, channels_divisor))
            if targets.dense_wh is not None:
                add('wh', self._dense_wh_loss(output['wh'], targets))
                continue
            wh = self._of_label(
                self.at_cells(output['wh'], targets.images, targets.cells), targets.labels)
            if 'bbox' in self.losses:
                add('bbox', self.regression_loss(
                    'bbox', self._boxes(offset, self._positive(wh)),
                    self._boxes(targets.offset, targets.wh), targets.weight, box_divisor))
            else:
                add('wh', self.regression_loss(
                    'wh', wh, targets.wh, targets.weight, channels_divisor))
        return losses

    def _dense_wh_loss(self, wh: Tensor, targets: BoxTargets) -> Tensor:
        """Loss of the sizes around centres, over the sum of the cells' weights."""
        positions, owner, weight = targets.dense_wh
        area = wh.shape[-2] * wh.shape[-1]
        pred = self.at_cells(wh, positions.div(area, rounding_mode='floor'), positions % area)
        divisor = reduce_mean(2 * weight.sum()) + OBJECTS_EPS
        return self.regression_loss(
            'wh', self._of_label(pred, targets.labels[owner]), targets.wh[owner], weight, divisor)

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
