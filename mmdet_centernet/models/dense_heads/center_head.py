"""The head of all tasks: a center heatmap, and properties at its peaks."""
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.structures import DetDataSample
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from mmengine.model import bias_init_with_prob, normal_init
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.layers.branch import build_branch
from mmdet_centernet.models.layers.suppression import suppress
from mmdet_centernet.models.losses.target_loss import cell_loss, heatmap_loss
from mmdet_centernet.models.properties.branch import Branch, Config, JointLoss, heatmap_branch
from mmdet_centernet.models.properties.centers import Centers
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.models.properties.target import CellTarget, HeatmapTarget, Target
from mmdet_centernet.ops.heatmap import read_cells
from mmdet_centernet.ops.transforms import clip_boxes, input_to_original, transform_boxes
from mmdet_centernet.registry import MODELS, TASK_UTILS

NORMALIZERS = ('peaks', 'objects', 'slots')
OBJECTS_EPS = 1e-4  # of the original implementation's divisors, for batches without objects
P = TypeVar('P', bound=Property)


@MODELS.register_module()
class CenterHead(BaseDenseHead):
    """Head that finds objects as peaks of a center heatmap and reads properties there.

    Each branch is some convolutions over one feature map per stack. The losses of all stacks are
    summed; the last stack is decoded (Objects as Points, Sec. 3 to 5).

    Args:
        num_classes (int): C.
        in_channels (int): channels of the features.
        feat_channels (int): channels between a branch's convolutions.
        properties (Sequence[Config | Property]): what is regressed at the peaks. A property may
            use what those before it decode.
        coder (dict, optional): config of the :class:`CenterCoder`, or of another module with its
            ``encode``, ``decode`` and ``stride``.
        loss_center_heatmap (dict, optional): heatmap loss: on logits as
            ``mmdet_centernet.GaussianFocalLoss``, or one of MMDetection's, which then gets
            probabilities and a dense target.
        normalizer (str): what regression losses are averaged over. ``'peaks'``: the cells of the
            heatmap that are a center (MMDetection). ``'objects'``: the objects that train the
            property, plus 1e-4 (the original implementation). ``'slots'``: ``max_objects`` for
            each image, as the original implementation does for 3D boxes. (Its cross-entropy of
            orientation bins also counts ln 2 for each missing object, without a gradient.)
        max_objects (int): of ``'slots'``. All objects are trained even if there are more.
        norm_cfg (dict, optional): normalization after each of a branch's 3x3 convolutions, which
            then have no bias, such as ``dict(type='BN')`` or ``dict(type='GN', num_groups=32)``.
        num_convs (int): number of a branch's 3x3 convolutions; one of 1x1 follows.
        prior (float): initial probability of the center heatmap: 0.1 as in CenterNet, 0.01 in
            its descendants.
        num_stacks (int): number of feature maps, each with branches of its own (Hourglass).
        train_cfg (dict, optional): accepted, because MMDetection's detectors pass it.
        test_cfg (dict, optional): ``max_per_img`` (100) detections per image; ``topk``, peaks
            that are decoded (``max_per_img`` unless more are wanted before NMS);
            ``local_maximum_kernel`` (3); ``score_thr`` (0), detections must score more;
            ``nms`` (None), see :func:`suppress`; ``clip_boxes`` (False), boxes are clipped to
            the image; ``output_heatmaps`` (False), samples get ``pred_fields.heatmaps``, the
            probabilities of keypoints, in cells of ``pred_fields.stride`` input pixels.
        init_cfg (dict, optional): mmengine initialization.

    Raises:
        ValueError: for an unknown normalizer, less than one object or convolution, or two
            properties with a branch of the same name.
    """

    #: Branches in the order of the network's parameters. Others follow in the properties' order.
    branch_order: tuple[str, ...] = ('heatmap',)
    stacks: Any  # nn.ModuleList of an nn.ModuleDict of branches for each stack

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        properties: Sequence[Config | Property] = (),
        coder: Config | None = None,
        loss_center_heatmap: Config | None = None,
        normalizer: str = 'objects',
        max_objects: int = 128,
        norm_cfg: Config | None = None,
        num_stacks: int = 1,
        num_convs: int = 1,
        prior: float = 0.1,
        train_cfg: Config | None = None,
        test_cfg: Config | None = None,
        init_cfg: Config | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if normalizer not in NORMALIZERS:
            raise ValueError(f"normalizer = '{normalizer}' must be one of {NORMALIZERS}.")
        if max_objects < 1:
            raise ValueError(f'max_objects = {max_objects} must be at least 1.')
        if num_convs < 1:
            raise ValueError(f'num_convs = {num_convs} must be at least 1.')
        if not 0 < prior < 1:
            raise ValueError(f'prior = {prior} must lie in (0, 1), like a probability.')
        self.num_classes = num_classes
        self.prior = prior
        self.normalizer = normalizer
        self.max_objects = max_objects
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        self.coder = TASK_UTILS.build({'type': 'mmdet_centernet.CenterCoder', **(coder or {})})
        self.properties: list[Property] = [
            each if isinstance(each, Property) else TASK_UTILS.build(each) for each in properties]
        self.branches: dict[str, Branch] = {}
        self.joint_losses: dict[str, JointLoss] = {}
        self.branches['heatmap'] = heatmap_branch(
            num_classes, loss_center_heatmap, loss_name='center_heatmap', class_channels=1,
            official_name='hm')
        for index, each in enumerate(self.properties):
            each.use_properties(self.properties[:index])
            for name, branch in each.branches.items():
                if name in self.branches:
                    raise ValueError(f"two properties have a branch '{name}': give one of them "
                                     'another name.')
                self.branches[name] = branch
            self.joint_losses.update(each.joint_losses)
        order = dict.fromkeys((*self.branch_order, *self.branches))
        self.stacks = nn.ModuleList(
            nn.ModuleDict({
                name: build_branch(
                    in_channels, feat_channels, self.branches[name].channels, norm_cfg,
                    num_convs, self.branches[name].learn_scale)
                for name in order if name in self.branches})
            for _ in range(num_stacks))
        losses = {name: each.loss for name, each in self.branches.items() if each.loss is not None}
        losses.update({name: each.loss for name, each in self.joint_losses.items()})
        self.losses = nn.ModuleDict({name: MODELS.build(each) for name, each in losses.items()})

    @property
    def task(self) -> str:
        """``'detection'``, or the task of its properties, such as ``'pose'``."""
        return next((each.task for each in self.properties if each.task), 'detection')

    @property
    def image_inputs(self) -> dict[str, str]:
        """Inputs besides the pixels of an image, such as ``cam2img``, and their sources."""
        return {name: source for each in self.properties
                for name, source in each.image_inputs.items()}

    @property
    def inference_branches(self) -> tuple[str, ...]:
        """Branches that predictions need, in the order of the network's parameters."""
        return tuple(name for name in self.stacks[-1] if not self.branches[name].training_only)

    def decoded_names(self) -> list[str]:
        """Return the names of what :meth:`decode` gives, such as ``bboxes``."""
        with torch.no_grad():  # of a map of one cell
            branches = {name: torch.zeros(1, self.branches[name].channels, 1, 1)
                        for name in self.inference_branches}
            inputs = {name: torch.ones(1, 3, 4) for name in self.image_inputs}  # cameras
            return [*self.decode(branches, inputs)]

    def find_property(self, kind: type[P]) -> P | None:
        """Return its first property of a type, None if there is none."""
        return next((each for each in self.properties if isinstance(each, kind)), None)

    def use_dataset(self, metainfo: Config) -> None:
        """Pass what the data set knows, such as class names, to the properties."""
        for each in self.properties:
            each.use_dataset(metainfo)

    def init_weights(self) -> None:
        """Start heatmaps at their prior everywhere, and regressions near their initial bias.

        The prior of keypoints' heatmaps is 0.1. Branches with ``init_std=None`` keep PyTorch's
        initial weights.
        """
        super().init_weights()
        for branches in self.stacks:
            for name, layers in branches.items():
                branch = self.branches[name]
                if branch.kind == 'heatmap':
                    prior = self.prior if name == 'heatmap' else 0.1
                    nn.init.constant_(layers[-1].bias, bias_init_with_prob(prior))
                    continue
                convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
                if branch.init_std is not None:
                    for layer in convs:
                        bias = branch.init_bias if layer is convs[-1] else 0.0
                        normal_init(layer, std=branch.init_std, bias=bias)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[dict[str, Tensor]]]:
        """Compute the outputs of all stacks.

        Args:
            features (Sequence[Tensor[B, in_channels, H, W]]): one per stack.

        Returns:
            tuple[list[dict[str, Tensor]]]: one entry, the list of the stacks' outputs:
            branch name -> Tensor[B, channels, H, W], logits and raw regressions.
        """
        self._check_features(features)
        return ([{name: layers(x) for name, layers in branches.items()}
                 for x, branches in zip(features, self.stacks, strict=True)],)

    def forward_last(self, features: Sequence[Tensor]) -> Fields:
        """Compute what is decoded: the last stack's :attr:`inference_branches`."""
        self._check_features(features)
        return {name: self.stacks[-1][name](features[-1]) for name in self.inference_branches}

    def _check_features(self, features: Sequence[Tensor]) -> None:
        if len(features) != len(self.stacks):
            raise ValueError(
                f'{type(self).__name__} has {len(self.stacks)} stack(s) but the neck gives '
                f'{len(features)} feature map(s): set num_stacks, or let the neck return one '
                'map per stack.')

    def loss_by_feat(
        self,
        outputs: list[Fields],
        batch_gt_instances: Instances,
        batch_img_metas: Metas,
        batch_gt_instances_ignore: Instances | None = None,
    ) -> Fields:
        """Compute the losses, each summed over the stacks.

        Divisors are means over all processes: DistributedDataParallel averages gradients, so
        that the result is that of one process with the whole batch.

        Args:
            outputs (list[dict]): of :meth:`forward`, one per stack.
            batch_gt_instances (list[InstanceData]): ``bboxes`` [N, 4] xyxy in input pixels,
                ``labels`` [N], and what the properties need.
            batch_img_metas (list[dict]): ``homography_matrix``, and what the properties need.
            batch_gt_instances_ignore (list[InstanceData], optional): see :class:`CenterCoder`.

        Returns:
            dict[str, Tensor]: ``loss_<name>`` of branches and joint losses.

        Raises:
            UserError: if annotations or metainfo lack what a property needs.
        """
        batch, channels, height, width = outputs[-1]['heatmap'].shape
        centers, targets = self._encode(
            batch_gt_instances, batch_img_metas, (batch, channels, height, width),
            batch_gt_instances_ignore)
        targets = {name: target for name, target in targets.items() if name in self.losses}
        divisors = self._divisors(targets)
        losses: Fields = {}
        for output in outputs:
            heatmap = self._add_positives(targets['heatmap'], output, centers)
            if heatmap is not targets['heatmap']:
                targets['heatmap'] = heatmap
                divisors.update(self._divisors(dict(heatmap=heatmap)))
            for name, target in targets.items():
                module, divisor = self.losses[name], divisors[name]
                if isinstance(target, HeatmapTarget):
                    loss = heatmap_loss(module, output[name], target, divisor)
                else:
                    loss = cell_loss(
                        module, self._predictions(output, name, target), target, divisor)
                branch = self.branches.get(name)
                key = f'loss_{branch and branch.loss_name or name}'
                losses[key] = losses[key] + loss if key in losses else loss
        return losses

    def encode(
        self,
        batch_gt_instances: Instances,
        batch_img_metas: Metas,
        shape: tuple[int, int, int, int],
        batch_gt_instances_ignore: Instances | None = None,
    ) -> Targets:
        """Encode the targets of all branches and joint losses; see :meth:`loss_by_feat`.

        ``shape`` is (B, C, H, W) of the heatmap.
        """
        return self._encode(
            batch_gt_instances, batch_img_metas, shape, batch_gt_instances_ignore)[1]

    def _encode(
        self,
        batch_gt_instances: Instances,
        batch_img_metas: Metas,
        shape: tuple[int, int, int, int],
        batch_gt_instances_ignore: Instances | None,
    ) -> tuple[Centers, Targets]:
        for instances, meta in zip(batch_gt_instances, batch_img_metas, strict=True):
            for each in self.properties:
                for name, source in each.needs.items():
                    if name not in instances:
                        raise UserError(f'{meta.get("img_path", "an image")} comes without '
                                        f'{name}: {source}')
                each.check(instances, meta, self.num_classes)
        centers, heatmap = self.coder.encode(
            batch_gt_instances, batch_img_metas, shape, batch_gt_instances_ignore)
        if self.normalizer == 'peaks':
            centers.count = heatmap.heatmap.num_peaks()
        elif self.normalizer == 'slots':
            centers.count = centers.weight.new_tensor(shape[0] * self.max_objects)
        else:
            centers.eps = OBJECTS_EPS
        centers.inputs = self.read_inputs(batch_img_metas, centers.offset)
        targets: Targets = dict(heatmap=heatmap)
        for each in self.properties:
            targets.update(each.encode(centers, batch_gt_instances, batch_img_metas))
        return centers, targets

    def _add_positives(self, target: Target, output: Fields, centers: Centers) -> HeatmapTarget:
        assert isinstance(target, HeatmapTarget)
        for each in self.properties:
            target = each.add_positives(target, output, centers)
        return target

    def read_inputs(self, batch_img_metas: Metas, like: Tensor) -> Fields:
        """Return the :attr:`image_inputs` [B, ...] from metainfo, on the device of ``like``."""
        inputs = {}
        for name, source in self.image_inputs.items():
            for meta in batch_img_metas:
                if meta.get(name) is None:
                    raise UserError(f'{meta.get("img_path", "an image")} comes without {name}, '
                                    f'{source}')
            inputs[name] = torch.from_numpy(np.stack([
                np.asarray(meta[name], np.float64) for meta in batch_img_metas])).to(like)
        return inputs

    @staticmethod
    def _divisors(targets: Targets) -> Fields:
        """Average the counts of all targets over the processes, at least 1 for the whole batch."""
        counts = [target.count for target in targets.values()]
        means = reduce_mean(torch.cat([count.reshape(-1) for count in counts]))
        means = means.clamp(min=1 / get_world_size()).split([count.numel() for count in counts])
        return {name: mean.view(count.shape)
                for name, count, mean in zip(targets, counts, means, strict=True)}

    def _predictions(self, output: Fields, name: str, target: CellTarget) -> Tensor:
        """Read what a target is compared with, [M, ..., D], at its cells."""
        joint = self.joint_losses.get(name)
        if joint is not None:
            return joint.combine(target, *(
                self._read(output, branch, target) for branch in joint.branches))
        pred = self._read(output, name, target, target.channels)
        inner = target.values.shape[1:-1]
        return pred.unflatten(1, (*inner, pred.shape[1] // inner.numel())) if inner else pred

    def _read(
        self, output: Fields, name: str, target: CellTarget, channels: Tensor | None = None
    ) -> Tensor:
        """Read a branch's values [M, channels] at the cells of a target."""
        return self.branches[name].to_value(
            read_cells(output[name], target.images, target.cells, channels))

    def predict(
        self, x: Sequence[Tensor], batch_data_samples: list[DetDataSample], rescale: bool = False
    ) -> Instances:
        """Predict from features, one per stack; only the last stack's branches are computed.

        See :meth:`forward` for the features and :meth:`predict_by_feat` for the results.
        """
        return self.predict_output(self.forward_last(x), batch_data_samples, rescale)

    def predict_output(
        self, output: Fields, batch_data_samples: list[DetDataSample], rescale: bool = False
    ) -> Instances:
        """Predict from one stack's outputs; see :meth:`predict`."""
        if (self.test_cfg or {}).get('output_heatmaps', False):
            names = [name for each in self.properties for name, branch in each.branches.items()
                     if branch.kind == 'heatmap' and not branch.training_only]
            if not names:
                raise UserError('test_cfg.output_heatmaps asks for heatmaps of keypoints, which '
                                'the head does not predict')
            heatmaps = torch.cat([output[name].float().sigmoid() for name in names], dim=1)
            for sample, each in zip(batch_data_samples, heatmaps, strict=True):
                sample.pred_fields = PixelData(
                    heatmaps=each, metainfo=dict(stride=self.coder.stride))
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.predict_by_feat([output], metas, rescale=rescale)

    def merge_flipped(self, output: Fields) -> Fields:
        """Average the outputs for images and their horizontal flips ("flip testing", Sec. 5).

        Heatmaps are averaged as probabilities and returned as logits. Regressions follow their
        branch's ``flip`` rule; branches without one keep the unflipped images' values.

        Args:
            output (dict[str, Tensor[2 B, channels, H, W]]): of the images, then of their flips.

        Returns:
            dict[str, Tensor[B, channels, H, W]]: float32 where averaged.
        """
        merged = {}
        for name, values in output.items():
            plain, flipped = values.unflatten(0, (2, -1))
            branch = self.branches[name]
            if branch.flip is None:
                merged[name] = plain
            elif branch.kind == 'heatmap':
                flipped = branch.flip(flipped.float().sigmoid())
                merged[name] = ((plain.float().sigmoid() + flipped) / 2).logit()
            else:
                merged[name] = (plain.float() + branch.flip(flipped.float())) / 2
        return merged

    def decode(self, output: Fields, inputs: Fields | None = None) -> Fields:
        """Decode one stack's outputs: find peaks, and read properties at the peaks (Sec. 4).

        No threshold and no suppression: this is what is exported.

        Args:
            output (dict[str, Tensor[B, channels, H, W]]): by branch.
            inputs (dict[str, Tensor], optional): :attr:`image_inputs` [B, ...] of the images.

        Returns:
            dict[str, Tensor[B, K, ...]]: ``bboxes`` xyxy in input pixels, ``scores`` best first,
            ``labels`` and what else the properties decode; K <= ``topk``.
        """
        cfg = self.test_cfg or {}
        peaks = self.coder.decode(
            output['heatmap'], cfg.get('topk', cfg.get('max_per_img', 100)),
            cfg.get('local_maximum_kernel', 3), inputs)
        fields: Fields = {}
        for each in self.properties:
            fields.update(each.decode(output, peaks, fields))
        replaced = {name for each in self.properties for name in each.replaces}
        bboxes = {name: fields[name] for name in ('bboxes',) if name in fields}
        scores = peaks.scores
        for each in self.properties:
            scores = each.rescore(scores, output, peaks, fields)
        results = dict(bboxes, scores=scores, labels=peaks.labels, **{
            name: values for name, values in fields.items()
            if name != 'bboxes' and name not in replaced})
        return results if scores is peaks.scores else _best_first(results)

    def predict_by_feat(
        self, outputs: list[Fields], batch_img_metas: Metas, rescale: bool = True
    ) -> Instances:
        """Predict from outputs.

        Args:
            outputs (list[dict]): of :meth:`forward`; the last stack's are used.
            batch_img_metas (list[dict]): ``homography_matrix`` (or ``border`` and
                ``scale_factor``) of each image, and the :attr:`image_inputs`.
            rescale (bool): in pixels of the original image, else of the input.

        Returns:
            list[InstanceData]: ``bboxes`` [n, 4] xyxy, ``scores`` [n] best first, ``labels`` [n]
            and what else the properties decode, of each image, n <= ``max_per_img``.
        """
        cfg = self.test_cfg or {}
        output = outputs[-1]
        decoded = self.decode(
            output, self.read_inputs(batch_img_metas, output['heatmap'].float()))
        if rescale:
            decoded.update(self.to_image(
                decoded, input_to_original(batch_img_metas, decoded['scores'])))
        if cfg.get('clip_boxes', False) and 'bboxes' in decoded:
            shape = 'ori_shape' if rescale else 'img_shape'
            decoded['bboxes'] = clip_boxes(
                decoded['bboxes'], [meta[shape][:2] for meta in batch_img_metas])
        # Scores descend, so that counting is selecting; here the device is waited for, once.
        counts = (decoded['scores'] > cfg.get('score_thr', 0.0)).sum(dim=1).tolist()
        results = []
        for image, count in enumerate(counts):
            found = InstanceData(
                **{name: values[image, :count] for name, values in decoded.items()})
            if cfg.get('nms'):
                scores, kept = suppress(found.bboxes, found.scores, found.labels, cfg['nms'])
                found = found[kept]
                found.scores = scores
            results.append(found[:cfg.get('max_per_img', 100)])
        return results

    def to_image(self, decoded: dict[str, Tensor], matrices: Tensor) -> Fields:
        """Return those of the fields [B, K, ...] that matrices [B, 3, 3] map, mapped."""
        moved = {}
        if 'bboxes' in decoded:
            moved['bboxes'] = transform_boxes(decoded['bboxes'], matrices)
        for each in self.properties:
            moved.update(each.to_image(decoded, matrices))
        return moved


def _best_first(detections: Fields) -> Fields:
    """Sort detections [B, K, ...] by their scores."""
    # ONNX export does not support a stable sort.
    scores, order = detections['scores'].topk(detections['scores'].shape[1], dim=1)
    return {name: scores if name == 'scores' else values.gather(
        1, order.view(*order.shape, *[1] * (values.dim() - 2)).expand_as(values))
        for name, values in detections.items()}
