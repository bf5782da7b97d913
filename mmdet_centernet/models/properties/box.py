"""2D boxes."""
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.branch import Branch, Config, JointLoss, flip_map
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.models.properties.target import CellTarget
from mmdet_centernet.ops.heatmap import find_cell_owners
from mmdet_centernet.ops.transforms import transform_boxes
from mmdet_centernet.registry import TASK_UTILS

L1 = dict(type='mmdet.L1Loss', loss_weight=1.0)


@TASK_UTILS.register_module()
class Box(Property):
    """2D box: its size and the sub-cell offset of its center (Objects as Points, Sec. 3).

    Encoded:

    - ``wh`` [N, 2]: width and height of the box clipped to the map, cells.
    - ``offset`` [N, 2]: center minus its cell, cells.
    - ``bbox`` [N, 4]: with ``loss_bbox``, the box around the cell, xyxy, cells.

    Decoded: ``bboxes`` [B, K, 4] xyxy, input pixels, unless ``with_wh`` is false.

    Args:
        num_classes (int): C.
        with_wh, with_offset (bool): have the branch. Without an offset, centers are in mid-cell.
        loss_wh (dict, optional): loss of the size; L1 with weight 0.1 by default.
        loss_offset (dict, optional): loss of the offset; L1 by default.
        loss_bbox (dict, optional): instead of ``loss_wh``, a loss of MMDetection's between
            boxes, such as ``mmdet.GIoULoss``.
        per_class (bool): predict a size for each class (2 C channels; those of class c are
            2 c and 2 c + 1). An object trains its own class's.
        dense_wh (bool): train sizes at every cell that a Gaussian reaches, not only at centers,
            in proportion to its value; a cell's size is that of the object with the largest
            Gaussian there.
        only_with_keypoints (bool): train size and offset of objects with at least one labeled
            keypoint only, as the original implementation does for poses.
        shift_sizes (bool): map box corners to the original image as the original implementation
            does for 3D: sizes are moved with the shift between both images, too.

    Raises:
        ValueError: for two losses of the size, or ``loss_bbox`` together with ``dense_wh``.
    """

    needs = dict(bboxes='load them with mmdet.LoadAnnotations(with_bbox=True)')

    def __init__(
        self,
        num_classes: int = 1,
        with_wh: bool = True,
        with_offset: bool = True,
        loss_wh: Config | None = None,
        loss_offset: Config | None = None,
        loss_bbox: Config | None = None,
        per_class: bool = False,
        dense_wh: bool = False,
        only_with_keypoints: bool = False,
        shift_sizes: bool = False,
    ) -> None:
        super().__init__()
        if loss_wh and loss_bbox:
            raise ValueError(
                'loss_wh and loss_bbox are both given, but the size has one loss: set '
                'loss_wh=None to train it by the boxes.')
        if loss_bbox and (dense_wh or not (with_wh and with_offset)):
            raise ValueError(
                'loss_bbox needs boxes, which take a size and an offset and exist at centers '
                'only: leave out dense_wh=True, with_wh=False and with_offset=False, or use '
                'loss_wh.')
        self.per_class = per_class
        self.dense_wh = dense_wh
        self.only_with_keypoints = only_with_keypoints
        self.shift_sizes = shift_sizes
        if with_wh:
            self.branches['wh'] = Branch(
                2 * num_classes if per_class else 2,
                None if loss_bbox else loss_wh or dict(L1, loss_weight=0.1),
                flip=flip_map, class_channels=2 if per_class else None, official_name='wh')
        if with_offset:
            self.branches['offset'] = Branch(2, loss_offset or L1, official_name='reg')
        if loss_bbox:
            self.joint_losses['bbox'] = JointLoss(loss_bbox, ('offset', 'wh'), predicted_boxes)

    def use_dataset(self, metainfo: Config) -> None:
        """Check that objects of all classes train sizes.

        Raises:
            UserError: if ``only_with_keypoints`` leaves a class out that has no keypoints.
        """
        skeletons = metainfo.get('skeletons')
        plain = [name for name in metainfo.get('classes') or () if name not in (skeletons or ())]
        if self.only_with_keypoints and skeletons and plain:
            raise UserError(
                f'model.bbox_head learns sizes of objects with keypoints only, but {plain} have '
                'none: compose mmdet_centernet.CenterHead with Box and Keypoints, see '
                'docs/pose.md')

    def check(self, instances: InstanceData, meta: Config, num_classes: int) -> None:
        """Check that there is a size for each class."""
        if self.per_class and self.branches['wh'].channels != 2 * num_classes:
            raise UserError(f'Box(per_class=True) needs num_classes={num_classes}, like the head')

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode sizes and offsets; see the class."""
        weight = centers.weight
        if self.only_with_keypoints:
            visible = centers.cat(batch_gt_instances, 'keypoints_visible')
            weight = weight * (visible > 0).any(dim=1)
        targets: Targets = {}
        if 'wh' in self.branches:
            targets['wh'] = self._dense(centers) if self.dense_wh else centers.at_centers(
                centers.wh, weight, self._channels(centers.labels))
        if 'offset' in self.branches:
            targets['offset'] = centers.at_centers(centers.offset, weight)
        if 'bbox' in self.joint_losses:
            targets['bbox'] = self.encode_cells(centers, weight)
        return targets

    def encode_cells(self, centers: Centers, weight: Tensor | None = None) -> CellTarget:
        """Return the boxes around the objects' cells [N, 4], xyxy, cells."""
        return centers.at_centers(_boxes(centers.offset, centers.wh), weight,
                                  self._channels(centers.labels))

    def _channels(self, labels: Tensor) -> Tensor | None:
        """Return the channels [N, 2] of the sizes of classes [N]."""
        if not self.per_class:
            return None
        return 2 * labels[:, None] + torch.arange(2, device=labels.device)

    def _dense(self, centers: Centers) -> CellTarget:
        """Return the target of the sizes at all cells that Gaussians reach."""
        height, width = centers.shape[2:]
        positions, owner, weight, _ = find_cell_owners(
            centers.xy, torch.where(centers.valid, centers.radius, -1), centers.images,
            (height, width), centers.max_radius)
        image = positions.div(height * width, rounding_mode='floor')
        return CellTarget(
            image, positions - image * (height * width), centers.wh[owner], weight,
            weight.sum(), 1e-4, self._channels(centers.labels[owner]))

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode boxes at the peaks (Objects as Points, Sec. 4)."""
        if 'wh' not in self.branches:
            return {}
        wh = peaks.read(outputs['wh'])
        if self.per_class:
            index = peaks.labels[..., None, None].expand(-1, -1, -1, 2)
            wh = wh.unflatten(-1, (-1, 2)).gather(2, index).squeeze(2)
        return dict(bboxes=_boxes(peaks.centers(outputs), wh) * peaks.stride)

    def to_image(self, detections: Fields, matrices: Tensor) -> Fields:
        """Map boxes as ``shift_sizes`` says; otherwise the head maps them."""
        if not self.shift_sizes or 'bboxes' not in detections:
            return {}
        half = matrices[:, None, :2, 2] / 2
        bboxes = transform_boxes(detections['bboxes'], matrices)
        return dict(bboxes=bboxes + torch.cat((-half, half), dim=-1))

    def describe(self) -> Config:
        """Return ``shift_sizes`` if it is true."""
        return dict(shift_sizes=True) if self.shift_sizes else {}


def _boxes(center: Tensor, wh: Tensor) -> Tensor:
    """Return boxes [..., 4] (xyxy) of centers and sizes [..., 2]."""
    half = wh / 2
    return torch.cat((center - half, center + half), dim=-1)


def predicted_boxes(target: CellTarget, offset: Tensor, wh: Tensor) -> Tensor:
    """Return boxes whose sizes are at least 0.01 cells, with the gradient of the size itself.

    A box of negative size is inside out, and an IoU would make it more so.
    """
    wh = wh if target.channels is None else wh.gather(1, target.channels)
    return _boxes(offset, wh + (wh.clamp(min=0.01) - wh).detach())
