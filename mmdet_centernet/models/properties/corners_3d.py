"""Projected corners of 3D boxes, which only training uses."""
from dataclasses import replace

import torch

from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.boxes_3d import (
    BOXES_3D_SOURCE,
    CAMERA_SOURCE,
    NEAREST,
    boxes_of,
)
from mmdet_centernet.models.properties.branch import Branch, Config
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.ops import camera as cameras
from mmdet_centernet.registry import TASK_UTILS

NUM_CORNERS = 8


@TASK_UTILS.register_module()
class Corners3D(Property):
    """Projected corners of the 3D box, an auxiliary task (MonoCon).

    Where the corners are seen tells dimensions, orientation and depth at once, so that learning
    it helps the features. Predictions do not need it: the branch exists in training alone.

    Encoded: ``corners`` [N, 8, 2]: projected corners minus the cell of the object, cells, in the
    order of :func:`mmdet_centernet.ops.camera.box_corners`. Corners less than 0.1 m in front of
    the camera do not train it.

    Decoded: nothing.

    Args:
        loss_corners (dict, optional): loss in cells; L1 by default, averaged over all corners.
    """

    needs = dict(bboxes_3d=BOXES_3D_SOURCE)
    image_inputs = dict(cam2img=CAMERA_SOURCE)

    def __init__(self, loss_corners: Config | None = None) -> None:
        super().__init__()
        self.branches['corners'] = Branch(2 * NUM_CORNERS, loss_corners or L1, training_only=True)

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode projected corners; see the class."""
        corners = cameras.box_corners(boxes_of(centers, batch_gt_instances))
        camera = centers.inputs['cam2img'].to(corners)[centers.images]
        in_front = corners[..., 2:] > NEAREST
        offset = cameras.project(corners, camera) / centers.stride - centers.xy[:, None]
        weight = in_front[..., 0] * centers.weight[:, None]
        target = centers.at_centers(torch.where(in_front, offset, 0.0), weight)
        count = centers.count_of(centers.weight) * NUM_CORNERS
        return dict(corners=replace(target, count=count))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode nothing: the branch exists in training alone."""
        return {}
