"""Depth of objects."""

from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.boxes_3d import BOXES_3D_SOURCE, measured_boxes
from mmdet_centernet.models.properties.branch import Branch, Config, flip_map
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.ops.camera import depth_of
from mmdet_centernet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class Depth(Property):
    """Depth: z of the 3D center in the camera frame, meters (Objects as Points, Sec. 4.1).

    Encoded: ``depth`` [N, 1], meters. Images that were scaled or shifted at random
    (``augmented``) do not train it, as in the original implementation.

    Decoded: ``depth`` [B, K], meters.

    Args:
        loss_depth (dict, optional): loss in meters; L1 by default.
    """

    needs = dict(bboxes_3d=BOXES_3D_SOURCE)

    def __init__(self, loss_depth: Config | None = None) -> None:
        super().__init__()
        self.branches['depth'] = Branch(
            1, loss_depth or L1, flip=flip_map, to_value=depth_of,
            to_output=lambda depth: -depth.log(), official_name='dep')

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode depths; see the class."""
        boxes, weight = measured_boxes(centers, batch_gt_instances, batch_img_metas)
        return dict(depth=centers.at_centers(boxes[:, 2:3], weight))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode depths at the peaks."""
        return dict(depth=depth_of(peaks.read(outputs['depth'])[..., 0]))
