"""Depth of objects."""
import math

import torch
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.boxes_3d import (
    BOXES_3D_SOURCE,
    CAMERA_SOURCE,
    check_loss,
    measured_boxes,
)
from mmdet_centernet.models.properties.branch import Branch, Config, flip_map
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.ops.camera import depth_of
from mmdet_centernet.registry import TASK_UTILS

#: Bound of the logarithm of a predicted standard deviation (meters), so that exp() stays finite.
MAX_LOG_SPREAD = 10.0


@TASK_UTILS.register_module()
class Depth(Property):
    """Depth: z of the 3D center in the camera frame, meters (Objects as Points, Sec. 4.1).

    Encoded: ``depth`` [N, 1], meters. Images that were scaled or shifted at random
    (``augmented``) do not train it, as in the original implementation, unless ``focal`` is given.

    Decoded: ``depth`` [B, K], meters. With ``uncertainty`` the scores of detections are
    multiplied by the confidence in their depth.

    Args:
        loss_depth (dict, optional): loss in meters; L1 by default, with ``uncertainty`` a
            :class:`LaplaceLoss`.
        uncertainty (bool): predict the standard deviation of the depth, too, in a second channel
            (MonoDLE). The confidence is ``exp(-s)``, one over the standard deviation in meters,
            so that scores may exceed 1.
        tolerance (float, optional): let the confidence be the probability, in [0, 1], that the
            depth is off by less than this, meters.
        focal (float, optional): predict the depth that an object would have if it were seen with
            this focal length, in px of the network's input. It depends on the image alone:
            objects look the same at twice the distance with twice the focal length. Images of
            several cameras, and scaled ones, then agree.

    Raises:
        UserError: if the loss does not fit ``uncertainty``, for a ``tolerance`` without it, or a
            number that is not positive.
    """

    needs = dict(bboxes_3d=BOXES_3D_SOURCE)
    conventions = ('focal',)

    def __init__(
        self,
        loss_depth: Config | None = None,
        uncertainty: bool = False,
        tolerance: float | None = None,
        focal: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in dict(tolerance=tolerance, focal=focal).items():
            if value is not None and value <= 0:
                raise UserError(f'{name} = {value} of the depth must be positive')
        if tolerance is not None and not uncertainty:
            raise UserError(f'tolerance = {tolerance} of the depth needs uncertainty=True, which '
                            'predicts how far off a depth may be')
        default = dict(type='mmdet_centernet.LaplaceLoss') if uncertainty else L1
        loss = loss_depth or default
        check_loss('loss_depth', loss, 'LaplaceLoss', 'depth uncertainty', uncertainty)
        self.uncertainty = uncertainty
        self.tolerance = tolerance
        self.focal = focal
        if focal is not None:
            self.image_inputs = dict(cam2img=CAMERA_SOURCE)
        self.branches['depth'] = Branch(
            2, loss, flip=flip_map, to_value=_depth_and_spread, to_output=_certain_depth,
        ) if uncertainty else Branch(
            1, loss, flip=flip_map, to_value=depth_of, to_output=lambda depth: -depth.log(),
            official_name='dep')

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode depths; see the class."""
        boxes, weight = measured_boxes(
            centers, batch_gt_instances, batch_img_metas, augmented=self.focal is not None)
        depth = boxes[:, 2:3]
        if self.focal is not None:
            depth = depth / _zoom(centers.inputs, self.focal)[centers.images]
        return dict(depth=centers.at_centers(depth, weight))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode depths at the peaks."""
        depth = depth_of(peaks.read(outputs['depth'])[..., 0])
        return dict(depth=depth if self.focal is None else depth * _zoom(peaks.inputs, self.focal))

    def rescore(
        self, scores: Tensor, outputs: Fields, peaks: Peaks, detections: Fields
    ) -> Tensor:
        """Multiply scores by the confidence in the depths, if there is an uncertainty."""
        if not self.uncertainty:
            return scores
        spread = _depth_and_spread(peaks.read(outputs['depth']))[..., 1].exp()
        if self.focal is not None:
            spread = spread * _zoom(peaks.inputs, self.focal)
        if self.tolerance is None:
            return scores / spread
        return scores * (1 - (-math.sqrt(2) * self.tolerance / spread).exp())


def _zoom(inputs: Fields, focal: float) -> Tensor:
    """Return how much larger objects look than with a focal length, [B, 1]."""
    return inputs['cam2img'][:, 1, 1, None] / focal


def _depth_and_spread(output: Tensor) -> Tensor:
    """Return depth and the logarithm of its standard deviation [..., 2] of outputs [..., 2]."""
    log_spread = output[..., 1:].float().clamp(-MAX_LOG_SPREAD, MAX_LOG_SPREAD)
    return torch.cat((depth_of(output[..., :1]), log_spread), dim=-1)


def _certain_depth(depth: Tensor) -> Tensor:
    """Return outputs [..., 2] for depths [..., 1], all with the same uncertainty."""
    return torch.cat((-depth.log(), torch.zeros_like(depth)), dim=-1)
