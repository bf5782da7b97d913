"""3D boxes of one camera: centre heat map, depth, dimensions, orientation, size, offset."""
import numpy as np
import torch
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import UserError
from ...ops.multi_bin import CHANNELS, SINES
from ...registry import MODELS
from ..task_modules.mono3d_coder import Mono3DTargets
from .base_center_head import OBJECTS_EPS, BaseCenterHead

NORMALIZERS = ('slots', 'objects')
L1 = dict(type='mmdet.L1Loss', loss_weight=1.0)


@MODELS.register_module()
class CenterNetMono3DHead(BaseCenterHead):
    """Head for 3D boxes from one image of a known camera (Objects as Points, Sec. 4.1).

    ``loss = focal(heatmap) + L1(depth) + L1(dims) + multi-bin(orientation) + 0.1 L1(wh) +
    L1(offset)``, the heat map's over the number of its peaks on all processes together.

    Args:
        num_classes (int): C.
        in_channels (int): channels of the features.
        feat_channels (int): channels inside the branches.
        with_wh, with_offset (bool): have the branches of 2D box size and offset. Without a size
            a 2D box is the one around the projected 3D box; without an offset a centre is in
            the middle of its cell.
        with_location_offset (bool): have a branch that tells where the centre of the 3D box is
            in the image, from the cell of the object (not in the original, which takes it to be
            the centre of the 2D box: 10 px off for a near car, half a car for one that the
            image's border cuts).
        coder (dict): config of a :class:`CenterNetMono3DCoder`.
        loss_center_heatmap (dict): heat-map loss: on logits as
            ``mmdet_centernet.GaussianFocalLoss``, or one of MMDetection's, which then gets
            probabilities and a dense target.
        loss_depth, loss_dims (dict): losses of metres.
        loss_orientation (dict): config of a :class:`MultiBinLoss`.
        loss_wh, loss_offset, loss_location_offset (dict): losses of cells.
        normalizer (str): what the losses but the heat map's are divided by. ``'slots'``: as in
            the original by ``max_objects`` times the images of the batch, as if every image had
            so many, times a regression's channels; sine and cosine of a bin by the objects in
            it. (Its cross-entropy also counts ln 2 for each missing object and bin, without a
            gradient; not here.) ``'objects'``: by the objects that there are.
        max_objects (int): of ``'slots'``. All objects of an image are learnt also if there are
            more (in the original so many).
        num_stacks, norm_cfg, train_cfg, init_cfg: see :class:`BaseCenterHead`.
        test_cfg (dict): see :class:`BaseCenterHead`; and ``shift_sizes`` (False): 2D box sizes
            come back to the image as points do, with the shift between both images, as in the
            original: of an image of 1224 x 370 px its boxes are 1.4 px higher than predicted.

    Raises:
        ValueError: for an unknown normalizer or less than one object.
    """

    averaged_branches = ('wh', 'depth', 'dims', 'orientation')

    def __init__(
        self,
        num_classes: int = 3,
        in_channels: int = 64,
        feat_channels: int = 64,
        with_wh: bool = True,
        with_offset: bool = True,
        with_location_offset: bool = False,
        coder: dict | None = None,
        loss_center_heatmap: dict | None = None,
        loss_depth: dict | None = None,
        loss_dims: dict | None = None,
        loss_orientation: dict | None = None,
        loss_wh: dict | None = None,
        loss_offset: dict | None = None,
        loss_location_offset: dict | None = None,
        normalizer: str = 'slots',
        max_objects: int = 50,
        **kwargs,
    ) -> None:
        if normalizer not in NORMALIZERS:
            raise ValueError(f"normalizer = '{normalizer}' must be one of {NORMALIZERS}.")
        if max_objects < 1:
            raise ValueError(f'max_objects = {max_objects} must be at least 1.')
        branches = dict(heatmap=num_classes, depth=1, orientation=CHANNELS, dims=3)
        losses = dict(
            heatmap=loss_center_heatmap or dict(type='mmdet_centernet.GaussianFocalLoss'),
            depth=loss_depth or L1, dims=loss_dims or L1,
            orientation=loss_orientation or dict(type='mmdet_centernet.MultiBinLoss'))
        for name, there, loss in (
            ('wh', with_wh, loss_wh or dict(L1, loss_weight=0.1)),
            ('offset', with_offset, loss_offset or L1),
            ('location_offset', with_location_offset, loss_location_offset or L1),
        ):
            if there:
                branches[name] = 2
                losses[name] = loss
        super().__init__(
            branches=branches,
            in_channels=in_channels,
            feat_channels=feat_channels,
            coder=coder or dict(type='mmdet_centernet.CenterNetMono3DCoder'),
            **kwargs,
        )
        self.num_classes = num_classes
        self.normalizer = normalizer
        self.max_objects = max_objects
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
            batch_gt_instances (list[InstanceData]): ``bboxes`` [N, 4] xyxy in input pixels,
                ``labels`` [N], ``bboxes_3d`` [N, 7], ``alpha`` [N].
            batch_img_metas (list[dict]): ``cam2img`` [3, 4] of the input image; ``augmented``,
                whether it was scaled or shifted at random: depths and dimensions are not learnt
                then, as in the original.
            batch_gt_instances_ignore (list[InstanceData], optional): what is to be ignored:
                ``bboxes`` [M, 4] in input pixels, ``labels`` [M], the class that it is ignored
                for, -1 for every class.

        Returns:
            dict[str, Tensor]: ``loss_center_heatmap``, ``loss_depth``, ``loss_dims``,
            ``loss_orientation``, and ``loss_<branch>`` of the other branches that there are.

        Raises:
            UserError: if the annotations have no 3D boxes, or a sample no camera.
        """
        shape = tuple(outputs[-1]['heatmap'].shape)
        targets = self._encode(
            batch_gt_instances, batch_gt_instances_ignore, batch_img_metas, shape)
        boxes = targets.boxes
        in_bin = targets.orientation.inside * boxes.weight[:, None]
        peaks, objects, metric, *bins = reduce_mean(torch.stack((
            boxes.heatmap.num_peaks(), boxes.weight.sum(), targets.metric_weight.sum(),
            *in_bin.sum(dim=0)))).unbind()
        peaks = self.at_least_one(peaks)
        bins = self.at_least_one(torch.stack(bins))
        slots = shape[0] * self.max_objects
        if self.normalizer == 'slots':
            objects, metric, eps = slots, slots, 0.
        else:
            eps = OBJECTS_EPS
        regressions = dict(
            depth=(targets.depth[:, None], targets.metric_weight, metric),
            dims=(targets.dims, targets.metric_weight, metric),
            wh=(boxes.wh, boxes.weight, objects),
            offset=(boxes.offset, boxes.weight, objects),
            location_offset=(targets.location_offset, boxes.weight, objects))
        losses: dict[str, Tensor] = {}

        def add(name: str, value: Tensor) -> None:
            losses[f'loss_{name}'] = losses.get(f'loss_{name}', 0) + value

        for output in outputs:
            logits = output['heatmap']
            if targets.ignored is not None:
                # Far below 0 a cell costs nothing and has no gradient.
                logits = logits.masked_fill(targets.ignored, -1e4)
            add('center_heatmap', self.heatmap_loss(
                self.losses['heatmap'], logits, boxes.heatmap, peaks))
            for name, (target, weight, count) in regressions.items():
                if name in output:
                    pred = self.at_cells(output[name], boxes.images, boxes.cells)
                    pred = self.coder.depth_of(pred) if name == 'depth' else pred
                    add(name, self.regression_loss(
                        name, pred, target, weight, target.shape[1] * count + eps))
            add('orientation', self.losses['orientation'](
                self.at_cells(output['orientation'], boxes.images, boxes.cells),
                targets.orientation, boxes.weight, objects + eps, bins))
        return losses

    def _encode(
        self,
        batch_gt_instances: list[InstanceData],
        batch_gt_instances_ignore: list[InstanceData] | None,
        batch_img_metas: list[dict],
        shape: tuple[int, ...],
    ) -> Mono3DTargets:
        """The coder's targets of a batch; see :meth:`loss_by_feat`."""
        for instances, meta in zip(batch_gt_instances, batch_img_metas, strict=True):
            if 'bboxes_3d' not in instances or 'alpha' not in instances:
                raise UserError(
                    f'{meta.get("img_path", "an image")} comes without 3D boxes: train on a '
                    'mmdet_centernet.KittiMono3DDataset, with mmdet_centernet.LoadBoxes3D and '
                    'mmdet_centernet.PackMono3DInputs in its pipeline')
        return self.coder.encode(
            [instances.bboxes for instances in batch_gt_instances],
            [instances.labels for instances in batch_gt_instances],
            [instances.bboxes_3d for instances in batch_gt_instances],
            [instances.alpha for instances in batch_gt_instances],
            self._cameras(batch_img_metas, batch_gt_instances[0].bboxes),
            shape,
            *self._ignored(batch_gt_instances, batch_gt_instances_ignore),
            [bool(meta.get('augmented', False)) for meta in batch_img_metas])

    @staticmethod
    def _ignored(
        batch_gt_instances: list[InstanceData],
        batch_gt_instances_ignore: list[InstanceData] | None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Boxes and labels of each image that are to be ignored; none where none are given."""
        ignored = [
            instances[:0] if each is None else each for instances, each in zip(
                batch_gt_instances,
                batch_gt_instances_ignore or [None] * len(batch_gt_instances), strict=True)]
        return [each.bboxes for each in ignored], [each.labels for each in ignored]

    @staticmethod
    def _cameras(batch_img_metas: list[dict], like: Tensor) -> Tensor:
        """The images' projection matrices, Tensor[B, 3, 4].

        Raises:
            UserError: if a sample has none.
        """
        for meta in batch_img_metas:
            if meta.get('cam2img') is None:
                raise UserError(
                    f'{meta.get("img_path", "an image")} comes without cam2img, the matrix of its '
                    'camera, which depths need: take samples from a '
                    'mmdet_centernet.KittiMono3DDataset and let the pipeline end in '
                    'mmdet_centernet.PackMono3DInputs')
        cameras = np.stack([np.asarray(meta['cam2img'], np.float64) for meta in batch_img_metas])
        return torch.from_numpy(cameras).to(like)

    def _decode_options(self, batch_img_metas: list[dict], like: Tensor) -> dict[str, Tensor]:
        return dict(cam2img=self._cameras(batch_img_metas, like.float()))

    def _transform(
        self, decoded: dict[str, Tensor], matrices: Tensor
    ) -> dict[str, Tensor]:
        moved = super()._transform(decoded, matrices)
        if (self.test_cfg or {}).get('shift_sizes', False):
            half = matrices[:, None, :2, 2] / 2
            moved['bboxes'] = moved['bboxes'] + torch.cat((-half, half), dim=-1)
        return moved

    def _mirror(self, name: str, values: Tensor) -> Tensor:
        values = super()._mirror(name, values)
        if name == 'orientation':
            # A mirrored object is observed at pi less its angle, as far from the middle of a
            # bin to the other side.
            sign = values.new_ones(CHANNELS)
            sign[list(SINES)] = -1
            return values * sign[:, None, None]
        return values
