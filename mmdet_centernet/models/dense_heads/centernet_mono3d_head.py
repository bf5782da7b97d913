"""The head for 3D boxes from one image."""
from typing import Any

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.properties.box import Box
from mmdet_centernet.models.properties.boxes_3d import Boxes3D
from mmdet_centernet.models.properties.branch import Config
from mmdet_centernet.models.properties.corners_3d import Corners3D
from mmdet_centernet.models.properties.depth import Depth
from mmdet_centernet.models.properties.dimensions import Dimensions
from mmdet_centernet.models.properties.orientation import Orientation
from mmdet_centernet.models.properties.property import Property
from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class CenterNetMono3DHead(CenterHead):
    """Head for 3D boxes from one image of a known camera (Objects as Points, Sec. 4.1).

    ``loss = focal(heatmap) + L1(depth) + L1(dims) + multi-bin(orientation) + 0.1 L1(wh) +
    L1(offset)``. Properties: :class:`Depth`, :class:`Orientation`, :class:`Dimensions`,
    :class:`Box` and :class:`Boxes3D`.

    Args:
        num_classes, in_channels, feat_channels, max_objects: see :class:`CenterHead`.
        with_wh, with_offset, loss_wh, loss_offset: see :class:`Box`. Without a size a 2D box is
            the one around the projected 3D box.
        with_location_offset, loss_location_offset: see :class:`Boxes3D`.
        loss_depth, loss_dims, loss_orientation (dict, optional): see their properties.
        depth_uncertainty, depth_tolerance, depth_focal: ``uncertainty``, ``tolerance`` and
            ``focal`` of :class:`Depth`. With ``depth_focal`` images that were scaled or shifted
            at random train dimensions, too.
        orientation_bins (int, optional): ``num_bins`` of :class:`Orientation`.
        aux_corners (bool): have :class:`Corners3D`, which only training uses.
        loss_corners (dict, optional): see :class:`Corners3D`.
        coder (dict, optional): see :class:`CenterHead`; the original implementation's by default.
            ``peak='center_3d'`` needs ``with_location_offset``.
        normalizer (str): see :class:`CenterHead`.
        test_cfg (dict, optional): see :class:`CenterHead`; and ``shift_sizes``, see :class:`Box`.
        **kwargs: other arguments of :class:`CenterHead`.

    Raises:
        UserError: if options contradict each other.
    """

    def __init__(
        self,
        num_classes: int = 3,
        in_channels: int = 64,
        feat_channels: int = 64,
        with_wh: bool = True,
        with_offset: bool = True,
        with_location_offset: bool = False,
        coder: Config | None = None,
        loss_depth: Config | None = None,
        loss_dims: Config | None = None,
        loss_orientation: Config | None = None,
        loss_wh: Config | None = None,
        loss_offset: Config | None = None,
        loss_location_offset: Config | None = None,
        depth_uncertainty: bool = False,
        depth_tolerance: float | None = None,
        depth_focal: float | None = None,
        orientation_bins: int | None = None,
        aux_corners: bool = False,
        loss_corners: Config | None = None,
        normalizer: str = 'slots',
        max_objects: int = 50,
        test_cfg: Config | None = None,
        **kwargs: Any,
    ) -> None:
        properties: list[Property] = [
            Depth(loss_depth, depth_uncertainty, depth_tolerance, depth_focal),
            Orientation(loss_orientation, orientation_bins),
            Dimensions(loss_dims, train_augmented=depth_focal is not None),
            Box(num_classes, with_wh, with_offset, loss_wh, loss_offset,
                shift_sizes=(test_cfg or {}).get('shift_sizes', False)),
            Boxes3D(with_location_offset, loss_location_offset)]
        if aux_corners:
            properties.append(Corners3D(loss_corners))
        elif loss_corners:
            raise UserError('loss_corners of the 3D head is given, but there are no corners to '
                            'learn: set aux_corners=True, or leave it out')
        coder = dict(radius='official', min_overlap=0.7, shared_cells='all', round_up=False,
                     ignore='center') | (coder or {})
        if coder.get('peak') == 'center_3d':
            missing = [name for name, there in dict(
                with_location_offset=with_location_offset,
                with_offset=with_offset or not with_wh).items() if not there]
            if missing:
                raise UserError(
                    f"peak = 'center_3d' of the coder needs {missing[0]}=True of the 3D head, "
                    'because the center of the 2D box is not that of the 3D box')
        super().__init__(
            num_classes, in_channels, feat_channels,
            [*properties, *kwargs.pop('properties', ())], coder, normalizer=normalizer,
            max_objects=max_objects, test_cfg=test_cfg, **kwargs)
