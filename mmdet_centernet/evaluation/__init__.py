"""Metrics: predictions to numbers. Boxes are evaluated by MMDetection's own metrics."""
from .coco_keypoint_metric import CocoKeypointMetric
from .kitti_metric import KittiMetric

__all__ = ['CocoKeypointMetric', 'KittiMetric']
