"""Drawing of predictions: which visualizer, and what it is given."""
import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer

from mmdet_centernet.visualization import CenterNetLocalVisualizer, Mono3DLocalVisualizer


def choose_visualizer(task: str, has_attributes: bool) -> type[DetLocalVisualizer]:
    """Return the class that draws the detections of a model.

    Args:
        task (str): ``'detection'``, ``'pose'`` or ``'mono3d'``.
        has_attributes (bool): the model predicts attributes.
    """
    if task == 'mono3d':
        return Mono3DLocalVisualizer
    return CenterNetLocalVisualizer if task == 'pose' or has_attributes else DetLocalVisualizer


def drawable(sample: DetDataSample, visualizer: DetLocalVisualizer) -> DetDataSample:
    """Return predictions that a visualizer can draw.

    ``mmdet.DetLocalVisualizer`` needs boxes that lie in the image and have an area. The
    visualizers of this package take them as they are.
    """
    if isinstance(visualizer, (CenterNetLocalVisualizer, Mono3DLocalVisualizer)) or (
            'bboxes' not in sample.pred_instances):
        return sample
    height, width = sample.ori_shape[:2]
    instances = sample.pred_instances
    x1, y1, x2, y2 = instances.bboxes.unbind(-1)
    boxes = torch.stack((x1.clamp(0, width - 1), y1.clamp(0, height - 1),
                         x2.clamp(0, width - 1), y2.clamp(0, height - 1)), dim=-1)
    instances = instances.clone()
    instances.bboxes = boxes
    shown = sample.new()
    shown.pred_instances = instances[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    return shown


@contextlib.contextmanager
def keypoints_above(visualizer: Any, kpt_thr: float | None) -> Iterator[None]:
    """Temporarily override the least score of keypoints that are drawn, unless it is None."""
    before = getattr(visualizer, 'kpt_thr', None)
    if before is None or kpt_thr is None:
        yield
        return
    visualizer.kpt_thr = kpt_thr
    try:
        yield
    finally:
        visualizer.kpt_thr = before
