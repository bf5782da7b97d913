"""Location of 3D boxes: from depth, dimensions, angle and camera."""
import torch
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.branch import Branch, Config
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.ops import camera as cameras
from mmdet_centernet.ops.transforms import boxes_around
from mmdet_centernet.registry import TASK_UTILS

BOXES_3D_SOURCE = (
    'train on a mmdet_centernet.KittiMono3DDataset, with mmdet_centernet.LoadBoxes3D and '
    'mmdet_centernet.PackInputs in its pipeline')
CAMERA_SOURCE = (
    'the camera matrix, which depths need: take samples from a '
    'mmdet_centernet.KittiMono3DDataset and let the pipeline end in mmdet_centernet.PackInputs')
NEAREST = 0.1  # meters; parts of a box that are nearer, or behind the camera, are projected there


def check_loss(name: str, loss: Config, kind: str, option: str, wanted: bool) -> None:
    """Raise a UserError if a loss is of a kind that an option does not take.

    Args:
        name (str): of the loss in the config.
        loss (dict): its config.
        kind (str): the class that the option needs, and nothing else takes.
        option (str): described.
        wanted (bool): the option is on.
    """
    found = loss['type']
    found = found.rpartition('.')[2] if isinstance(found, str) else found.__name__
    if wanted and found != kind:
        raise UserError(f'{option} needs another loss than {found}: set '
                        f"{name}=dict(type='mmdet_centernet.{kind}')")
    if not wanted and found == kind:
        raise UserError(f'{name} is a {kind}, which needs {option}: switch it on, or take '
                        'another loss')


def boxes_of(centers: Centers, batch_gt_instances: Instances) -> Tensor:
    """Return the 3D boxes [N, 7] of a batch; invalid objects, some of them NaN, get ones."""
    boxes = centers.cat(batch_gt_instances, 'bboxes_3d').float()
    return torch.where(centers.valid[:, None], boxes, 1.0)


def measured_boxes(
    centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas,
    augmented: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return 3D boxes [N, 7] and the weight [N] of what is measured in meters.

    Images that were scaled or shifted at random (``augmented`` in their metainfo) have weight 0
    unless ``augmented``.
    """
    moved = [bool(meta.get('augmented', False)) for meta in batch_img_metas]
    weight = centers.weight
    if any(moved) and not augmented:
        weight = weight * ~centers.per_image(moved)
    return boxes_of(centers, batch_gt_instances), weight


@TASK_UTILS.register_module()
class Boxes3D(Property):
    """3D boxes from depth, dimensions, observation angle and camera (Sec. 4.1).

    The box is where the ray through its center in the image has the predicted depth. As in the
    original implementation that is the center of the 2D box, unless ``with_location_offset``.

    Encoded: ``location_offset`` [N, 2]: projected center of the 3D box minus the cell of its
    object, cells.

    Decoded: ``bboxes_3d`` [B, K, 7]: x, y, z of the bottom center, h, w, l, rotation_y; meters
    and radians in [-pi, pi), camera frame. Without ``bboxes``, the boxes around the projected 3D
    boxes, too.

    Args:
        with_location_offset (bool): have a branch for the projected 3D center. (The original
            implementation takes it to be the center of the 2D box: 10 px off for a near car,
            half a car for one that the image border truncates.)
        loss_location_offset (dict, optional): loss in cells; L1 by default.
    """

    needs = dict(bboxes_3d=BOXES_3D_SOURCE)
    image_inputs = dict(cam2img=CAMERA_SOURCE)
    replaces = ('dims',)
    task = 'mono3d'

    def __init__(
        self, with_location_offset: bool = False, loss_location_offset: Config | None = None
    ) -> None:
        super().__init__()
        if with_location_offset:
            self.branches['location_offset'] = Branch(2, loss_location_offset or L1)

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode projected 3D centers; see the class."""
        if not self.branches:
            return {}
        middle = cameras.box_centers(boxes_of(centers, batch_gt_instances))
        camera = centers.inputs['cam2img'].to(middle)[centers.images]
        projected = cameras.project(middle[:, None], camera)[:, 0]
        return dict(location_offset=centers.at_centers(projected / centers.stride - centers.xy))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode 3D boxes from what the properties before have decoded."""
        seen = peaks.centers(outputs) if 'location_offset' not in self.branches else (
            peaks.xy + peaks.read(outputs['location_offset']))
        seen = seen * peaks.stride
        camera = peaks.inputs['cam2img'].to(seen)
        dims = detections['dims']
        location = cameras.unproject(seen, detections['depth'], camera)
        location[..., 1] += dims[..., 0] / 2
        rotation_y = cameras.alpha_to_rotation_y(detections['alpha'], seen[..., 0], camera)
        fields = dict(bboxes_3d=torch.cat((location, dims, rotation_y[..., None]), dim=-1))
        if 'bboxes' not in detections:
            corners = cameras.box_corners(fields['bboxes_3d'])
            corners[..., 2].clamp_(min=NEAREST)
            fields['bboxes'] = boxes_around(cameras.project(corners, camera[:, None]))
        return fields
