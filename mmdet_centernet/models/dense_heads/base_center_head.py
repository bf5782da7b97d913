"""What the heads of all tasks share: branches, initialisation, way back to the image."""
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmengine.model import bias_init_with_prob, normal_init
from torch import Tensor, nn

from ...registry import MODELS, TASK_UTILS


class BaseCenterHead(BaseDenseHead):
    """A table of convolutional branches over one feature map per stack.

    Tasks differ in the table, the coder and the losses.

    Args:
        branches (dict[str, int]): name of each branch -> its number of channels.
        in_channels (int): channels of the features.
        feat_channels (int): channels between a branch's two convolutions.
        coder (dict): config of the coder.
        num_stacks (int): feature maps, each with branches of its own; the losses of all
            are summed, the last one is decoded (Hourglass).
        train_cfg (dict, optional): accepted, as MMDetection's detectors hand it over.
        test_cfg (dict, optional): see the task's head.
        init_cfg (dict, optional): mmengine initialisation.
    """

    #: Branches that end in class probabilities, which start out small.
    heatmap_branches: tuple[str, ...] = ('heatmap',)

    def __init__(
        self,
        branches: dict[str, int],
        in_channels: int,
        feat_channels: int,
        coder: dict,
        num_stacks: int = 1,
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
                name: nn.Sequential(
                    nn.Conv2d(in_channels, feat_channels, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(feat_channels, channels, 1),
                )
                for name, channels in branches.items()
            })
            for _ in range(num_stacks)
        )

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
        if len(features) != len(self.stacks):
            raise ValueError(
                f'{type(self).__name__} has {len(self.stacks)} stack(s) but the neck gives '
                f'{len(features)} feature map(s): set num_stacks, or let the neck return one '
                'map per stack.')
        return ([
            {name: branch(x) for name, branch in branches.items()}
            for x, branches in zip(features, self.stacks, strict=True)
        ],)

    @abstractmethod
    def loss_by_feat(
        self,
        outputs: list[dict[str, Tensor]],
        batch_gt_instances: list,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list | None = None,
    ) -> dict[str, Tensor]:
        """Losses of all stacks, by name."""

    @abstractmethod
    def predict_by_feat(
        self,
        outputs: list[dict[str, Tensor]],
        batch_img_metas: list[dict],
        rescale: bool = True,
    ) -> list:
        """Predictions of the last stack, one ``InstanceData`` per image."""

    @staticmethod
    def heatmap_loss(loss: nn.Module, logits: Tensor, target, avg_factor: Tensor) -> Tensor:
        """Apply a heat-map loss of ours (logits, sparse target) or one of MMDetection's
        interface (probabilities, dense target)."""
        if getattr(loss, 'takes_logits', False):
            return loss(logits, target, avg_factor=avg_factor)
        return loss(logits.sigmoid(), target.to_dense(), avg_factor=avg_factor)

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
