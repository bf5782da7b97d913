"""Metrics: predictions to numbers. Boxes are evaluated by MMDetection's own metrics."""
from mmdet_centernet.evaluation.attribute_metric import AttributeMetric
from mmdet_centernet.evaluation.coco_keypoint_metric import CocoKeypointMetric
from mmdet_centernet.evaluation.kitti_metric import KittiMetric

__all__ = ['AttributeMetric', 'CocoKeypointMetric', 'KittiMetric']
