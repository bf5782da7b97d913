"""The head for 2D boxes."""
from typing import Any

from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.properties.box import Box
from mmdet_centernet.models.properties.branch import Config
from mmdet_centernet.registry import MODELS


@MODELS.register_module()
class CenterNetHead(CenterHead):
    """Head for 2D boxes (Objects as Points, Sec. 3 and 4): a :class:`Box` at each peak.

    ``loss = focal(heatmap) + 0.1 L1(wh) + L1(offset)``, each averaged over the objects of the
    whole batch, on all processes together. The arguments of MMDetection's ``CenterNetHead`` work
    here, too.

    Args:
        num_classes, in_channels, feat_channels: see :class:`CenterHead`.
        loss_wh, loss_offset, loss_bbox, dense_wh: see :class:`Box`.
        wh_per_class (bool): ``per_class`` of the :class:`Box`.
        normalizer (str): ``'peaks'`` or another one of :class:`CenterHead`.
        **kwargs: other arguments of :class:`CenterHead`.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        loss_wh: Config | None = None,
        loss_offset: Config | None = None,
        loss_bbox: Config | None = None,
        wh_per_class: bool = False,
        dense_wh: bool = False,
        normalizer: str = 'peaks',
        **kwargs: Any,
    ) -> None:
        box = Box(num_classes, loss_wh=loss_wh, loss_offset=loss_offset, loss_bbox=loss_bbox,
                  per_class=wh_per_class, dense_wh=dense_wh)
        super().__init__(
            num_classes, in_channels, feat_channels, [box, *kwargs.pop('properties', ())],
            normalizer=normalizer, **kwargs)
