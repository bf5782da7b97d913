"""Check that a model predicts the boxes that its evaluation and its NMS need."""
from mmdet.evaluation import CocoMetric, VOCMetric
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class CheckBoxesHook(Hook):
    """Hook that stops a run if boxes are needed and no property of the head predicts them.

    It checks before training and testing. A list of properties that replaces another one
    (``CenterHead``) easily loses the boxes, which would show after the first epoch.
    """

    def before_train(self, runner: Runner) -> None:
        """Check the model, with the metrics of the validation."""
        self._check(runner, runner.val_evaluator if runner.val_loop is not None else None)

    def before_test(self, runner: Runner) -> None:
        """Check the model, with the metrics of the test."""
        self._check(runner, runner.test_evaluator)

    def _check(self, runner: Runner, evaluator: Evaluator | None) -> None:
        """Raise a UserError that names what needs the boxes, and what to add."""
        head = getattr(unwrap(runner.model), 'bbox_head', None)
        if not isinstance(head, CenterHead) or 'bboxes' in head.decoded_names():
            return
        needs = [f'mmdet.{type(metric).__name__} evaluates' for metric in (
            evaluator.metrics if evaluator is not None else ())
            if isinstance(metric, VOCMetric) or (
                isinstance(metric, CocoMetric) and 'bbox' in metric.metrics)]
        if (head.test_cfg or {}).get('nms'):
            needs.append('test_cfg.nms compares')
        if needs:
            raise UserError(
                f'{needs[0]} boxes, but no property of model.bbox_head predicts any: add '
                "dict(type='mmdet_centernet.LTRB') or dict(type='mmdet_centernet.Box') to its "
                'properties')
