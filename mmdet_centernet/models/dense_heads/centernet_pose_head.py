"""Poses: centre heat map, size, offset, joint displacement, joint heat map, joint offset."""
import torch
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from ...errors import UserError
from ...ops.heatmap import cell_positions
from ...registry import MODELS
from ..task_modules.pose_coder import PoseTargets
from .base_center_head import OBJECTS_EPS, BaseCenterHead, transform_points

L1 = dict(type='mmdet.L1Loss', loss_weight=1.0)
FOCAL = dict(type='mmdet_centernet.GaussianFocalLoss')


@MODELS.register_module()
class CenterNetPoseHead(BaseCenterHead):
    """Head for poses (Objects as Points, Sec. 4.2).

    ``loss = focal(heatmap) + 0.1 L1(wh) + L1(offset) + L1(displacement) +
    focal(keypoint_heatmap) + L1(keypoint_offset)``; heat maps over the number of their peaks,
    regressions over that of the numbers that are learnt plus 1e-4 (as in the original), each
    of the whole batch, on all processes together.

    Args:
        num_classes (int): C.
        num_keypoints (int): K, joints of an object of any class.
        in_channels (int): channels of the features.
        feat_channels (int): channels inside the branches.
        flip_pairs (list[tuple[int, int]], optional): joints that change places in a mirror
            image. None: those of the data set, which :class:`SkeletonHook` hands over;
            only flip testing asks for them.
        with_wh, with_offset (bool): have the branches of box size and offset. Without a size
            a box is the one around the joints; without an offset a centre is in the middle
            of its cell.
        with_keypoint_heatmap (bool): have the joint heat map. Without it joints are where
            they are regressed to, and there is no joint offset either.
        with_keypoint_offset (bool): have the joint offset. Without it joints snap to the
            middle of a cell.
        coder (dict): config of a :class:`CenterNetPoseCoder`.
        loss_center_heatmap, loss_keypoint_heatmap (dict): heat-map losses: on logits as
            ``mmdet_centernet.GaussianFocalLoss``, or one of MMDetection's, which then gets
            probabilities and a dense target.
        loss_wh, loss_offset, loss_keypoint_displacement, loss_keypoint_offset (dict): losses
            of the regressions, in cells.
        num_stacks, norm_cfg, train_cfg, init_cfg: see :class:`BaseCenterHead`.
        test_cfg (dict): see :class:`BaseCenterHead`; and ``output_heatmaps`` (False):
            predicted samples also get ``pred_fields.heatmaps`` [K, H, W], the probabilities
            of joints, in cells of ``pred_fields.stride`` input pixels.

    Raises:
        ValueError: if a pair names a joint that there is not, or a joint twice.
    """

    heatmap_branches = ('heatmap', 'keypoint_heatmap')
    averaged_branches = ('wh', 'keypoint_displacement')

    def __init__(
        self,
        num_classes: int = 1,
        num_keypoints: int = 17,
        in_channels: int = 64,
        feat_channels: int = 64,
        flip_pairs: list[tuple[int, int]] | None = None,
        with_wh: bool = True,
        with_offset: bool = True,
        with_keypoint_heatmap: bool = True,
        with_keypoint_offset: bool = True,
        coder: dict | None = None,
        loss_center_heatmap: dict | None = None,
        loss_wh: dict | None = None,
        loss_offset: dict | None = None,
        loss_keypoint_displacement: dict | None = None,
        loss_keypoint_heatmap: dict | None = None,
        loss_keypoint_offset: dict | None = None,
        **kwargs,
    ) -> None:
        branches = dict(heatmap=num_classes, keypoint_displacement=2 * num_keypoints)
        losses = dict(
            heatmap=loss_center_heatmap or FOCAL,
            keypoint_displacement=loss_keypoint_displacement or L1)
        for name, there, channels, loss in (
            ('wh', with_wh, 2, loss_wh or dict(L1, loss_weight=0.1)),
            ('offset', with_offset, 2, loss_offset or L1),
            ('keypoint_heatmap', with_keypoint_heatmap, num_keypoints,
             loss_keypoint_heatmap or FOCAL),
            ('keypoint_offset', with_keypoint_heatmap and with_keypoint_offset, 2,
             loss_keypoint_offset or L1),
        ):
            if there:
                branches[name] = channels
                losses[name] = loss
        super().__init__(
            branches=branches,
            in_channels=in_channels,
            feat_channels=feat_channels,
            coder=coder or dict(type='mmdet_centernet.CenterNetPoseCoder'),
            **kwargs,
        )
        self.num_classes = num_classes
        self.num_keypoints = num_keypoints
        self.flip_pairs = flip_pairs
        if flip_pairs is not None:
            self._flip_indices()
        self.losses = self.build_losses(**losses)

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
                pixels, ``labels`` [N], ``keypoints`` [N, K, 2] input pixels,
                ``keypoints_visible`` [N, K], more than 0 if labelled.
            batch_img_metas (list[dict]): ``homography_matrix`` says whether an image was
                rotated, see :meth:`CenterNetPoseCoder.encode`.
            batch_gt_instances_ignore (list[InstanceData], optional): not used: what is
                ignored is background here.

        Returns:
            dict[str, Tensor]: ``loss_center_heatmap``, ``loss_keypoint_displacement``, and
            ``loss_<branch>`` of the other branches that there are.

        Raises:
            UserError: if the annotations have no joints, or not as many as the head.
        """
        targets = self._encode(
            batch_gt_instances, batch_img_metas, tuple(outputs[-1]['heatmap'].shape))
        boxes = targets.boxes
        peaks, joint_peaks, num_objects, num_displacements, num_joints = reduce_mean(torch.stack((
            boxes.heatmap.num_peaks(), targets.keypoint_heatmap.num_peaks(), boxes.weight.sum(),
            (targets.displacement_weight if targets.dense_displacement is None
             else targets.dense_displacement.value).sum(),
            targets.keypoint_weight.sum()))).unbind()
        peaks, joint_peaks = self.at_least_one(peaks), self.at_least_one(joint_peaks)
        objects = dict(weight=boxes.weight, divisor=2 * num_objects + OBJECTS_EPS)
        displacements_divisor = 2 * num_displacements + OBJECTS_EPS
        joints = dict(weight=targets.keypoint_weight.flatten(),
                      divisor=2 * num_joints + OBJECTS_EPS)
        joint_images = boxes.images.repeat_interleave(self.num_keypoints)
        losses: dict[str, Tensor] = {}

        def add(name: str, value: Tensor) -> None:
            losses[f'loss_{name}'] = losses.get(f'loss_{name}', 0) + value

        for output in outputs:
            logits = output['heatmap']
            add('center_heatmap', self.heatmap_loss(
                self.losses['heatmap'],
                logits if targets.upright is None else logits[targets.upright],
                boxes.heatmap, peaks))
            add('keypoint_displacement', self._displacement_loss(
                output['keypoint_displacement'], targets, displacements_divisor))
            for name, target in (('wh', boxes.wh), ('offset', boxes.offset)):
                if name in output:
                    pred = self.at_cells(output[name], boxes.images, boxes.cells)
                    add(name, self.regression_loss(name, pred, target, **objects))
            if 'keypoint_heatmap' in output:
                add('keypoint_heatmap', self.heatmap_loss(
                    self.losses['keypoint_heatmap'], output['keypoint_heatmap'],
                    targets.keypoint_heatmap, joint_peaks))
            if 'keypoint_offset' in output:
                pred = self.at_cells(
                    output['keypoint_offset'], joint_images, targets.keypoint_cells.flatten())
                add('keypoint_offset', self.regression_loss(
                    'keypoint_offset', pred, targets.keypoint_offset.flatten(0, 1), **joints))
        return losses

    def _encode(
        self,
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        shape: tuple[int, ...],
    ) -> PoseTargets:
        """The coder's targets of a batch; see :meth:`loss_by_feat`."""
        for instances, meta in zip(batch_gt_instances, batch_img_metas, strict=True):
            if 'keypoints' not in instances:
                raise UserError(
                    f'{meta.get("img_path", "an image")} comes without keypoints: train on a '
                    'mmdet_centernet.CocoPoseDataset, with mmdet_centernet.LoadKeypoints and '
                    'mmdet_centernet.PackPoseInputs in its pipeline')
            if instances.keypoints.shape[1:] != (self.num_keypoints, 2):
                raise UserError(
                    f'{meta.get("img_path", "an image")} has keypoints of shape '
                    f'{tuple(instances.keypoints.shape)}, not [N, {self.num_keypoints}, 2]: set '
                    'num_keypoints of model.bbox_head to the number in the data')
        return self.coder.encode(
            [instances.bboxes for instances in batch_gt_instances],
            [instances.labels for instances in batch_gt_instances],
            [instances.keypoints for instances in batch_gt_instances],
            [instances.keypoints_visible for instances in batch_gt_instances],
            shape,
            ['homography_matrix' in meta and bool(meta['homography_matrix'][0][1])
             for meta in batch_img_metas])

    def _displacement_loss(
        self, displacement: Tensor, targets: PoseTargets, divisor: Tensor
    ) -> Tensor:
        """Loss of the joints' places, at the centres or around them."""
        boxes = targets.boxes
        if targets.dense_displacement is None:
            pred = self.at_cells(displacement, boxes.images, boxes.cells)
            return self.regression_loss(
                'keypoint_displacement', pred.unflatten(1, (-1, 2)), targets.displacement,
                targets.displacement_weight, divisor)
        positions, owner, weight = targets.dense_displacement
        width = displacement.shape[-1]
        area = displacement.shape[-2] * width
        plane, cells = positions.div(area, rounding_mode='floor'), positions % area
        image, joint = plane.div(self.num_keypoints, rounding_mode='floor'), (
            plane % self.num_keypoints)
        place = cell_positions(cells, width)
        x, y = place.unbind(dim=1)
        pred = displacement.unflatten(1, (-1, 2))[image, joint, :, y, x]
        center = boxes.cells.repeat_interleave(self.num_keypoints)[owner]
        step = place - cell_positions(center, width)
        target = targets.displacement.flatten(0, 1)[owner] - step
        return self.regression_loss('keypoint_displacement', pred, target, weight, divisor)

    def predict_output(
        self, output: dict[str, Tensor], batch_data_samples: list, rescale: bool = False
    ) -> list[InstanceData]:
        """Predictions from one stack's outputs; joint heat maps go to the samples."""
        if (self.test_cfg or {}).get('output_heatmaps', False):
            if 'keypoint_heatmap' not in output:
                raise UserError('test_cfg.output_heatmaps asks for joint heat maps, which a head '
                                'with with_keypoint_heatmap=False has not')
            for sample, logits in zip(
                    batch_data_samples, output['keypoint_heatmap'], strict=True):
                sample.pred_fields = PixelData(
                    heatmaps=logits.float().sigmoid(), metainfo=dict(stride=self.coder.stride))
        return super().predict_output(output, batch_data_samples, rescale)

    def _transform(
        self, decoded: dict[str, Tensor], matrices: Tensor
    ) -> dict[str, Tensor]:
        keypoints = decoded['keypoints']
        moved = transform_points(keypoints.flatten(1, 2), matrices).view_as(keypoints)
        return dict(super()._transform(decoded, matrices), keypoints=moved)

    def _mirror(self, name: str, values: Tensor) -> Tensor:
        values = super()._mirror(name, values)
        if name == 'keypoint_heatmap':
            return values[:, self._flip_indices()]
        if name == 'keypoint_displacement':
            swapped = values.unflatten(1, (-1, 2))[:, self._flip_indices()]
            return (swapped * swapped.new_tensor([-1, 1])[:, None, None]).flatten(1, 2)
        return values

    def _flip_indices(self) -> list[int]:
        """Which joint of the mirror image each joint is."""
        if self.flip_pairs is None:
            raise UserError(
                'flip testing needs to know which joints are left and right of each other: test '
                'on a data set with a skeleton (mmdet_centernet.CocoPoseDataset, with the '
                'SkeletonHook), or set flip_pairs of model.bbox_head')
        indices = list(range(self.num_keypoints))
        joints = [joint for pair in self.flip_pairs for joint in pair]
        if len(set(joints)) < len(joints) or not set(joints) <= set(indices):
            raise ValueError(
                f'flip_pairs = {self.flip_pairs} must be pairs of different joints of '
                f'{self.num_keypoints} (0 to {self.num_keypoints - 1}), none of them twice.')
        for left, right in self.flip_pairs:
            indices[left], indices[right] = right, left
        return indices
