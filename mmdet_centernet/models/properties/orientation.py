"""Observation angle of objects."""
from functools import partial

import torch

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.boxes_3d import BOXES_3D_SOURCE, check_loss
from mmdet_centernet.models.properties.branch import Branch, Config
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.models.properties.target import CellTarget
from mmdet_centernet.ops.angle_bins import bins_to_output, decode_bins, encode_bins, flip_bins
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
    """Observation angle alpha in bins (Objects as Points, Sec. 4.1).

    Encoded:

    - by default ``orientation`` [N, 2, 3], of two overlapping bins: whether the angle is inside,
      and sine and cosine of the angle from the middle of the bin;
    - with ``num_bins`` ``orientation`` [N, 2]: the bin, and the angle from its middle.

    Decoded: ``alpha`` [B, K], radians in [-pi, pi).

    Args:
        loss_orientation (dict, optional): config of a :class:`MultiBinLoss`, with ``num_bins``
            of an :class:`AngleBinLoss`.
        num_bins (int, optional): classify this many bins of equal size, the first one around 0,
            and regress the angle in the best one (12 in MonoDLE). An even number, so that
            flipping an image maps bins to bins.

    Raises:
        UserError: for another number, or a loss that does not fit it.
    """

    needs = dict(alpha=BOXES_3D_SOURCE)
    conventions = ('num_bins',)

    def __init__(
        self, loss_orientation: Config | None = None, num_bins: int | None = None
    ) -> None:
        super().__init__()
        if num_bins is not None and (num_bins < 2 or num_bins % 2):
            raise UserError(f'num_bins = {num_bins} of the orientation must be an even number '
                            'from 2 on, such as 12, or None for two overlapping bins')
        default = 'MultiBinLoss' if num_bins is None else 'AngleBinLoss'
        loss = loss_orientation or dict(type=f'mmdet_centernet.{default}')
        check_loss('loss_orientation', loss, 'AngleBinLoss', 'num_bins of the orientation',
                   num_bins is not None)
        self.num_bins = num_bins
        self.branches['orientation'] = Branch(
            CHANNELS, loss, flip=flip_angles, to_output=to_output, official_name='rot',
        ) if num_bins is None else Branch(
            2 * num_bins, loss, flip=flip_bins,
            to_output=partial(bins_to_output, num_bins=num_bins))

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode angles. The terms of the loss are averaged each over its own angles."""
        alpha = centers.cat(batch_gt_instances, 'alpha').float()
        # A box that the crop cuts off may have an angle that is NaN.
        alpha = torch.where(centers.valid, alpha, 0.0)
        weight = centers.weight
        count = centers.count_of(weight).reshape(1)
        if self.num_bins is not None:
            return dict(orientation=CellTarget(
                centers.images, centers.cells, encode_bins(alpha, self.num_bins),
                weight[:, None].expand(-1, 2), count.expand(2), centers.eps))
        values = encode_angles(alpha)
        in_bin = values[..., 0] * weight[:, None]
        count = torch.cat((count, in_bin.sum(dim=0)))
        # Residuals are averaged over the angles in the bin.
        eps = count.new_zeros(3)
        eps[0] = centers.eps
        return dict(orientation=CellTarget(
            centers.images, centers.cells, values, torch.cat((weight[:, None], in_bin), dim=1),
            count, eps))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode angles at the peaks."""
        output = peaks.read(outputs['orientation'])
        return dict(alpha=decode_angles(output) if self.num_bins is None else decode_bins(output))
