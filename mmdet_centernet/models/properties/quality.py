"""Quality of boxes: the IoU that a box is expected to have with its object."""
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.box import Box, predicted_boxes
from mmdet_centernet.models.properties.branch import Branch, Config, JointLoss, flip_map
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.ltrb import LTRB
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.models.properties.target import CellTarget
from mmdet_centernet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class Quality(Property):
    """Quality: the IoU of the model's own box with its object, which ranks detections.

    A heatmap tells how surely an object's center is in a cell, but not how well its box fits.
    Detections score ``p ** (1 - exponent) * q ** exponent`` with the heatmap's probability p and
    the quality q. The exponent has no effect on training: choose it on the validation data
    afterwards, with ``--cfg-options``.

    Encoded:

    - ``box_quality`` [M, 4]: at the cells that train the box, the object's box (xyxy, cells,
      around the cell), to compute the IoU with; see :class:`mmdet_centernet.BoxQualityLoss`.
    - ``quality`` [M, 1]: 1, the quality of a perfect box, for the oracle.

    Decoded: the detections' scores, see :meth:`rescore`.

    Args:
        exponent (float): in [0, 1]. With 0 the branch helps training alone: predictions do not
            compute it.
        loss_quality (dict, optional): ``mmdet_centernet.BoxQualityLoss`` with its options.

    Raises:
        ValueError: for an exponent outside [0, 1].
        UserError: without an :class:`LTRB` or a :class:`Box` with both branches before it.
    """

    def __init__(self, exponent: float = 0.5, loss_quality: Config | None = None) -> None:
        super().__init__()
        if not 0 <= exponent <= 1:
            raise ValueError(f'exponent = {exponent} must lie in [0, 1].')
        self.exponent = exponent
        self.loss = loss_quality or dict(type='mmdet_centernet.BoxQualityLoss')
        self.box: LTRB | Box
        self.branches['quality'] = Branch(
            1, None, flip=flip_map, to_output=lambda quality: quality.logit(eps=1e-6),
            init_std=0.01, training_only=exponent == 0)

    def use_properties(self, earlier: Sequence[Property]) -> None:
        """Find the property that decodes the boxes."""
        for each in earlier:
            if isinstance(each, LTRB):
                self.box = each
                joint = JointLoss(self.loss, ('quality', 'ltrb'), _join)
            elif isinstance(each, Box) and {'wh', 'offset'} <= each.branches.keys():
                self.box = each
                joint = JointLoss(self.loss, ('quality', 'offset', 'wh'), _join_sizes)
            else:
                continue
            self.joint_losses['box_quality'] = joint
            return
        raise UserError('Quality needs boxes: put an LTRB, or a Box with sizes and offsets, '
                        'before it in the properties of the head')

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode the objects' boxes at the cells that train the model's boxes; see the class."""
        target = self.box.encode_cells(centers)
        perfect = replace(target, values=torch.ones_like(target.values[:, :1]), channels=None)
        return dict(box_quality=target, quality=perfect)

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode nothing: see :meth:`rescore`."""
        return {}

    def rescore(
        self, scores: Tensor, outputs: Fields, peaks: Peaks, detections: Fields
    ) -> Tensor:
        """Return ``scores ** (1 - exponent) * quality ** exponent``, 0 where scores are."""
        if self.branches['quality'].training_only:
            return scores
        quality = peaks.read(outputs['quality'])[..., 0].sigmoid()
        mixed = scores ** (1 - self.exponent) * quality ** self.exponent
        return torch.where(scores > 0, mixed, 0.0)


def _join(target: CellTarget, quality: Tensor, boxes: Tensor) -> Tensor:
    """Return logits and boxes, [M, 5]."""
    return torch.cat((quality, boxes), dim=1)


def _join_sizes(target: CellTarget, quality: Tensor, offset: Tensor, wh: Tensor) -> Tensor:
    """Return logits and boxes, [M, 5]."""
    return _join(target, quality, predicted_boxes(target, offset, wh))
