"""The head for poses."""
from typing import Any

from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.properties.box import Box
from mmdet_centernet.models.properties.branch import Config
from mmdet_centernet.models.properties.keypoints import Keypoints
from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class CenterNetPoseHead(CenterHead):
    """Head for poses (Objects as Points, Sec. 4.2): a :class:`Box` and :class:`Keypoints`.

    ``loss = focal(heatmap) + 0.1 L1(wh) + L1(offset) + L1(displacement) +
    focal(keypoint_heatmap) + L1(keypoint_offset)``. As in the original implementation, objects
    without a labeled keypoint are drawn, but do not train size and offset, and rotated images
    train keypoint heatmap and offset only.

    Args:
        num_classes, in_channels, feat_channels: see :class:`CenterHead`.
        with_wh, with_offset, loss_wh, loss_offset: see :class:`Box`.
        num_keypoints, flip_pairs, dense_displacement, snap_score, snap_distance: see
            :class:`Keypoints`.
        with_keypoint_heatmap, with_keypoint_offset, loss_keypoint_displacement,
            loss_keypoint_heatmap, loss_keypoint_offset: the :class:`Keypoints`' arguments
            without ``keypoint_``.
        coder (dict, optional): see :class:`CenterHead`; the original implementation's by default.
        **kwargs: other arguments of :class:`CenterHead`.
    """

    branch_order = ('heatmap', 'keypoint_displacement', 'wh', 'offset')

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
        dense_displacement: bool = False,
        snap_score: float = 0.1,
        snap_distance: float = 0.3,
        coder: Config | None = None,
        loss_wh: Config | None = None,
        loss_offset: Config | None = None,
        loss_keypoint_displacement: Config | None = None,
        loss_keypoint_heatmap: Config | None = None,
        loss_keypoint_offset: Config | None = None,
        **kwargs: Any,
    ) -> None:
        box = Box(num_classes, with_wh, with_offset, loss_wh, loss_offset,
                  only_with_keypoints=True)
        keypoints = Keypoints(
            num_keypoints, flip_pairs=flip_pairs, with_heatmap=with_keypoint_heatmap,
            with_offset=with_keypoint_offset, loss_displacement=loss_keypoint_displacement,
            loss_heatmap=loss_keypoint_heatmap, loss_offset=loss_keypoint_offset,
            dense_displacement=dense_displacement, snap_score=snap_score,
            snap_distance=snap_distance)
        coder = dict(radius='official', min_overlap=0.7, shared_cells='all',
                     trust_rotated_boxes=False) | (coder or {})
        super().__init__(
            num_classes, in_channels, feat_channels,
            [box, keypoints, *kwargs.pop('properties', ())], coder, **kwargs)
