"""What the heads of all tasks share: branches, initialisation, way back to the image."""
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from mmcv.cnn import build_norm_layer
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmengine.dist import get_world_size
from mmengine.model import bias_init_with_prob, normal_init
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...registry import MODELS, TASK_UTILS
from ..task_modules.suppression import suppress

OBJECTS_EPS = 1e-4  # of the original's divisors, for batches without objects


class BaseCenterHead(BaseDenseHead):
    """A table of convolutional branches over one feature map per stack.

    Tasks differ in the table, the coder and the losses.

    Args:
        branches (dict[str, int]): name of each branch -> its number of channels.
        in_channels (int): channels of the features.
        feat_channels (int): channels between a branch's two convolutions.
        coder (dict): config of the coder.
        norm_cfg (dict, optional): normalisation after a branch's first convolution, which
            then has no bias, such as ``dict(type='BN')``.
        num_stacks (int): feature maps, each with branches of its own; the losses of all
            are summed, the last one is decoded (Hourglass).
        train_cfg (dict, optional): accepted, as MMDetection's detectors hand it over.
        test_cfg (dict, optional): ``max_per_img`` (100) detections per image; ``topk``, peaks
            that are decoded (``max_per_img`` unless more are wanted before NMS);
            ``local_maximum_kernel`` (3); ``score_thr`` (0), detections must score more;
            ``nms`` (None), see :func:`suppress`; ``clip_boxes`` (False), boxes are cut to
            the image.
        init_cfg (dict, optional): mmengine initialisation.
    """

    #: Branches that end in class probabilities, which start out small.
    heatmap_branches: tuple[str, ...] = ('heatmap',)
    #: Regressions that are averaged with those of the mirrored image in flip testing.
    averaged_branches: tuple[str, ...] = ('wh',)

    def __init__(
        self,
        branches: dict[str, int],
        in_channels: int,
        feat_channels: int,
        coder: dict,
        num_stacks: int = 1,
        norm_cfg: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.coder = TASK_UTILS.build(coder)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        self.stacks = nn.ModuleList(
            nn.ModuleDict({
                name: self._branch(in_channels, feat_channels, channels, norm_cfg)
                for name, channels in branches.items()
            })
            for _ in range(num_stacks)
        )

    @staticmethod
    def _branch(
        in_channels: int, feat_channels: int, channels: int, norm_cfg: dict | None
    ) -> nn.Sequential:
        layers = [nn.Conv2d(in_channels, feat_channels, 3, padding=1, bias=norm_cfg is None)]
        if norm_cfg is not None:
            layers.append(build_norm_layer(norm_cfg, feat_channels)[1])
        return nn.Sequential(
            *layers, nn.ReLU(inplace=True), nn.Conv2d(feat_channels, channels, 1))

    def init_weights(self) -> None:
        """Heat maps begin at a probability of 0.1 everywhere, regressions near 0."""
        super().init_weights()
        for branches in self.stacks:
            for name, branch in branches.items():
                if name in self.heatmap_branches:
                    nn.init.constant_(branch[-1].bias, bias_init_with_prob(0.1))
                else:
                    for layer in branch:
                        if isinstance(layer, nn.Conv2d):
                            normal_init(layer, std=0.001)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[dict[str, Tensor]]]:
        """Logits and raw regressions of every stack.

        Args:
            features (Sequence[Tensor[B, in_channels, H, W]]): one per stack.

        Returns:
            tuple[list[dict[str, Tensor]]]: one entry, the list of the stacks' outputs:
            branch name -> Tensor[B, channels, H, W].

        Raises:
            ValueError: if the number of features is not the number of stacks.
        """
        self._check_features(features)
        return ([
            {name: branch(x) for name, branch in branches.items()}
            for x, branches in zip(features, self.stacks, strict=True)
        ],)

    def forward_last(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Logits and raw regressions of the last stack alone, which is what is decoded.

        Args:
            features (Sequence[Tensor[B, in_channels, H, W]]): one per stack.

        Returns:
            dict[str, Tensor]: branch name -> Tensor[B, channels, H, W].

        Raises:
            ValueError: if the number of features is not the number of stacks.
        """
        self._check_features(features)
        return {name: branch(features[-1]) for name, branch in self.stacks[-1].items()}

    def _check_features(self, features: Sequence[Tensor]) -> None:
        if len(features) != len(self.stacks):
            raise ValueError(
                f'{type(self).__name__} has {len(self.stacks)} stack(s) but the neck gives '
                f'{len(features)} feature map(s): set num_stacks, or let the neck return one '
                'map per stack.')

    def predict(
        self, x: Sequence[Tensor], batch_data_samples: list, rescale: bool = False
    ) -> list:
        """Predictions from features; only the last stack's branches are computed.

        Args:
            x (Sequence[Tensor[B, in_channels, H, W]]): one per stack.
            batch_data_samples (list[DetDataSample]): their metainfo is used.
            rescale (bool): see :meth:`predict_by_feat`.

        Returns:
            list[InstanceData]: one per image.
        """
        return self.predict_output(self.forward_last(x), batch_data_samples, rescale)

    def predict_output(
        self, output: dict[str, Tensor], batch_data_samples: list, rescale: bool = False
    ) -> list:
        """Predictions from one stack's outputs, see :meth:`predict`."""
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.predict_by_feat([output], metas, rescale=rescale)

    def merge_flipped(self, output: dict[str, Tensor]) -> dict[str, Tensor]:
        """One stack's outputs for images and their mirror images, merged (Sec. 5: "flip
        testing").

        Heat maps are averaged as probabilities, and come back as logits; the regressions of
        ``averaged_branches`` are averaged as they are; others, such as offsets, are the
        unmirrored image's.

        Args:
            output (dict[str, Tensor[2 B, channels, H, W]]): the images' outputs, then those
                of the images mirrored left to right, in the same order.

        Returns:
            dict[str, Tensor[B, channels, H, W]]: float32 where averaged.
        """
        merged = {}
        for name, values in output.items():
            plain, mirrored = values.unflatten(0, (2, -1))
            if name in self.heatmap_branches:
                mirrored = self._mirror(name, mirrored.float().sigmoid())
                merged[name] = ((plain.float().sigmoid() + mirrored) / 2).logit()
            elif name in self.averaged_branches:
                merged[name] = (plain.float() + self._mirror(name, mirrored.float())) / 2
            else:
                merged[name] = plain
        return merged

    def _mirror(self, name: str, values: Tensor) -> Tensor:
        """What a branch's outputs [B, channels, H, W] for mirror images say of the images."""
        return values.flip(-1)

    @abstractmethod
    def loss_by_feat(
        self,
        outputs: list[dict[str, Tensor]],
        batch_gt_instances: list,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list | None = None,
    ) -> dict[str, Tensor]:
        """Losses of all stacks, by name."""

    def predict_by_feat(
        self,
        outputs: list[dict[str, Tensor]],
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> list[InstanceData]:
        """Detections of the last stack.

        Args:
            outputs (list[dict]): of :meth:`forward`.
            batch_img_metas (list[dict]): ``homography_matrix`` (or ``border`` and
                ``scale_factor``) of each image.
            rescale (bool): in pixels of the original image, else of the input.

        Returns:
            list[InstanceData]: ``bboxes`` [n, 4] xyxy, ``scores`` [n] best first,
            ``labels`` [n] and what else the coder decodes, of each image,
            n <= ``max_per_img``. Boxes are not clipped to the image unless ``clip_boxes``
            asks for it.
        """
        cfg = self.test_cfg or {}
        max_per_img = cfg.get('max_per_img', 100)
        decoded = self.coder.decode(
            **outputs[-1],
            **self._decode_options(batch_img_metas, outputs[-1]['heatmap']),
            topk=cfg.get('topk', max_per_img),
            local_maximum_kernel=cfg.get('local_maximum_kernel', 3),
        )._asdict()
        if rescale:
            decoded.update(self._transform(
                decoded, self.input_to_original(batch_img_metas, decoded['bboxes'])))
        if cfg.get('clip_boxes', False):
            decoded['bboxes'] = self._clip(
                decoded['bboxes'], batch_img_metas, 'ori_shape' if rescale else 'img_shape')
        # Scores fall, so that counting is selecting; here the device is waited for, once.
        counts = (decoded['scores'] > cfg.get('score_thr', 0.0)).sum(dim=1).tolist()
        results = []
        for image, count in enumerate(counts):
            found = InstanceData(
                **{name: values[image, :count] for name, values in decoded.items()})
            if cfg.get('nms'):
                scores, kept = suppress(found.bboxes, found.scores, found.labels, cfg['nms'])
                found = found[kept]
                found.scores = scores
            results.append(found[:max_per_img])
        return results

    def _decode_options(self, batch_img_metas: list[dict], like: Tensor) -> dict[str, Tensor]:
        """What else than the outputs the coder decodes from, on the device of ``like``."""
        return {}

    def _transform(
        self, decoded: dict[str, Tensor], matrices: Tensor
    ) -> dict[str, Tensor]:
        """What of decoded detections [B, K, ...] affine matrices [B, 3, 3] change, changed."""
        return dict(bboxes=transform_boxes(decoded['bboxes'], matrices))

    @staticmethod
    def _clip(bboxes: Tensor, batch_img_metas: list[dict], shape: str) -> Tensor:
        """Boxes [B, K, 4] cut to [0, width] x [0, height] of each image's ``shape``."""
        sizes = [meta[shape][:2] for meta in batch_img_metas]
        upper = bboxes.new_tensor([(w, h, w, h) for h, w in sizes])[:, None]
        return bboxes.clamp(min=0).minimum(upper)

    @staticmethod
    def heatmap_loss(loss: nn.Module, logits: Tensor, target, avg_factor: Tensor) -> Tensor:
        """Apply a heat-map loss of ours (logits, sparse target) or one of MMDetection's
        interface (probabilities, dense target)."""
        if getattr(loss, 'takes_logits', False):
            return loss(logits, target, avg_factor=avg_factor)
        return loss(logits.sigmoid(), target.to_dense(), avg_factor=avg_factor)

    def regression_loss(
        self, name: str, pred: Tensor, target: Tensor, weight: Tensor, divisor: Tensor
    ) -> Tensor:
        """Weighted sum of a loss, over ``divisor``.

        The weights are no argument of the loss: MMDetection's would look at them on the
        host.

        Args:
            name (str): of the loss.
            pred, target (Tensor[..., channels]): such as [N, 2].
            weight (Tensor[...]): of each entry; the loss is of its shape, or has channels.
            divisor (Tensor): 0-d.

        Returns:
            Tensor: 0-d.
        """
        if not weight.numel():  # 0, with a gradient, which losses of nothing do not all have
            return pred.sum()
        loss = self.losses[name](pred, target, reduction_override='none')
        weight = weight if loss.dim() == weight.dim() else weight[..., None]
        return (loss * weight).sum() / divisor

    @staticmethod
    def at_cells(values: Tensor, images: Tensor, cells: Tensor) -> Tensor:
        """What a map [B, channels, H, W] holds at cells [N] of images [N]: [N, channels]."""
        width = values.shape[-1]
        return values[images, :, cells.div(width, rounding_mode='floor'), cells % width]

    @staticmethod
    def at_least_one(mean_count: Tensor) -> Tensor:
        """A count's mean over processes, such that the whole batch counts 1 at least.

        DistributedDataParallel averages gradients over processes, so that dividing by the
        mean count gives what one process would compute from the whole batch.
        """
        return mean_count.clamp(min=1 / get_world_size())

    @staticmethod
    def input_to_original(batch_img_metas: list[dict], like: Tensor) -> Tensor:
        """The way back from network-input pixels to original pixels of each image.

        ``homography_matrix`` says it all. Without it (MMDetection's pipelines pack other
        keys) the input is the original times ``scale_factor``, shifted by ``border``.

        Args:
            batch_img_metas (list[dict]): metainfo of the images.
            like (Tensor): its device and dtype are the result's.

        Returns:
            Tensor[B, 3, 3]
        """
        matrices = []
        for meta in batch_img_metas:
            if 'homography_matrix' in meta:
                matrix = np.asarray(meta['homography_matrix'], np.float64)
            else:
                top, _, left, _ = meta.get('border', (0, 0, 0, 0))
                scale_x, scale_y = meta.get('scale_factor', (1, 1))
                matrix = np.array([[scale_x, 0, left], [0, scale_y, top], [0, 0, 1]], np.float64)
            matrices.append(np.linalg.inv(matrix))
        return torch.from_numpy(np.stack(matrices)).to(like)

    @staticmethod
    def build_losses(**configs: dict) -> nn.ModuleDict:
        """Build the losses of the branches, by name."""
        return nn.ModuleDict({name: MODELS.build(config) for name, config in configs.items()})


def transform_boxes(bboxes: Tensor, matrices: Tensor) -> Tensor:
    """Boxes through affine matrices; upright boxes around the result.

    Centres are mapped and half sizes scaled, so that left stays left through a flip, and a
    predicted size below zero stays what it is.

    Args:
        bboxes (Tensor[B, K, 4]): xyxy.
        matrices (Tensor[B, 3, 3]): affine.

    Returns:
        Tensor[B, K, 4]: xyxy.
    """
    corner, opposite = bboxes[..., :2], bboxes[..., 2:]
    center = transform_points((corner + opposite) / 2, matrices)
    half = (opposite - corner) / 2 @ matrices[:, :2, :2].mT.abs()
    return torch.cat((center - half, center + half), dim=-1)


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Points [B, K, 2] (x, y) through affine matrices [B, 3, 3]."""
    return points @ matrices[:, :2, :2].mT + matrices[:, None, :2, 2]
