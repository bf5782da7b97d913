"""Observation angle of objects."""
import torch

from mmdet_centernet.models.properties.boxes_3d import BOXES_3D_SOURCE
from mmdet_centernet.models.properties.branch import Branch, Config
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.models.properties.target import CellTarget
from mmdet_centernet.ops.multi_bin import (
    CHANNELS,
    decode_angles,
    encode_angles,
    flip_angles,
    to_output,
)
from mmdet_centernet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class Orientation(Property):
    """Observation angle alpha in two overlapping bins (Objects as Points, Sec. 4.1).

    Encoded: ``orientation`` [N, 2, 3]: for each bin whether the angle is inside, and sine and
    cosine of the angle from the middle of the bin.

    Decoded: ``alpha`` [B, K], radians in [-pi, pi).

    Args:
        loss_orientation (dict, optional): config of a :class:`MultiBinLoss`.
    """

    needs = dict(alpha=BOXES_3D_SOURCE)

    def __init__(self, loss_orientation: Config | None = None) -> None:
        super().__init__()
        self.branches['orientation'] = Branch(
            CHANNELS, loss_orientation or dict(type='mmdet_centernet.MultiBinLoss'),
            flip=flip_angles, to_output=to_output, official_name='rot')

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode angles. The loss has three terms: the bins, and the residual in each bin."""
        alpha = centers.cat(batch_gt_instances, 'alpha').float()
        # A box that the crop cuts off may have an angle that is NaN.
        values = encode_angles(torch.where(centers.valid, alpha, 0.0))
        weight = centers.weight
        in_bin = values[..., 0] * weight[:, None]
        count = torch.cat((centers.count_of(weight).reshape(1), in_bin.sum(dim=0)))
        # Residuals are averaged over the angles in the bin.
        eps = count.new_zeros(3)
        eps[0] = centers.eps
        return dict(orientation=CellTarget(
            centers.images, centers.cells, values, torch.cat((weight[:, None], in_bin), dim=1),
            count, eps))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode angles at the peaks."""
        return dict(alpha=decode_angles(peaks.read(outputs['orientation'])))
