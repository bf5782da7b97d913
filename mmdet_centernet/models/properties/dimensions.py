"""Dimensions of objects in 3D."""

from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.boxes_3d import BOXES_3D_SOURCE, measured_boxes
from mmdet_centernet.models.properties.branch import Branch, Config, flip_map
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.registry import TASK_UTILS


@TASK_UTILS.register_module()
class Dimensions(Property):
    """Height, width and length, meters (Objects as Points, Sec. 4.1).

    Encoded: ``dims`` [N, 3], meters. Images that were scaled or shifted at random
    (``augmented``) do not train them, as in the original implementation, unless
    ``train_augmented``.

    Decoded: ``dims`` [B, K, 3], meters.

    Args:
        loss_dims (dict, optional): loss in meters; L1 by default. Another one is
            :class:`DimensionAwareL1Loss`.
        train_augmented (bool): let scaled and shifted images train them, too. The depth must then
            follow the focal length, see :class:`Depth`; otherwise an object that looks larger
            could as well be a larger one.
    """

    needs = dict(bboxes_3d=BOXES_3D_SOURCE)

    def __init__(self, loss_dims: Config | None = None, train_augmented: bool = False) -> None:
        super().__init__()
        self.train_augmented = train_augmented
        self.branches['dims'] = Branch(3, loss_dims or L1, flip=flip_map, official_name='dim')

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode dimensions; see the class."""
        boxes, weight = measured_boxes(
            centers, batch_gt_instances, batch_img_metas, augmented=self.train_augmented)
        return dict(dims=centers.at_centers(boxes[:, 3:6], weight))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode dimensions at the peaks."""
        return dict(dims=peaks.read(outputs['dims']))
