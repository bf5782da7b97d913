"""The detector."""
from mmdet.models.detectors.single_stage import SingleStageDetector

from ...registry import MODELS


@MODELS.register_module()
class CenterNet(SingleStageDetector):
    """CenterNet (Objects as Points, arXiv:1904.07850): backbone, neck, one head.

    ``model(inputs, mode='tensor')`` gives ``([outputs of stack, ...],)``: per stack a dict
    of logits and raw regressions by branch name.

    Args:
        backbone, neck, bbox_head, train_cfg, test_cfg, data_preprocessor, init_cfg: as in
            ``mmdet.SingleStageDetector``.
    """
