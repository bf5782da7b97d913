"""Models that merge what a detector predicts for several views of an image."""
from mmdet_centernet.models.test_time_augs.centernet_tta import CenterNetTTAModel

__all__ = ['CenterNetTTAModel']
