"""Hooks: checks that stop a run, the progress line, freezing, pipelines, teachers."""
from mmdet_centernet.engine.hooks.check_boxes_hook import CheckBoxesHook
from mmdet_centernet.engine.hooks.check_checkpoint_hook import CheckCheckpointHook
from mmdet_centernet.engine.hooks.check_loss_hook import CheckLossHook
from mmdet_centernet.engine.hooks.check_num_classes_hook import CheckNumClassesHook
from mmdet_centernet.engine.hooks.class_counts_hook import ClassCountsHook
from mmdet_centernet.engine.hooks.distillation_hook import DistillationHook
from mmdet_centernet.engine.hooks.freeze_hook import FreezeHook
from mmdet_centernet.engine.hooks.gradient_checkpoint_hook import GradientCheckpointHook
from mmdet_centernet.engine.hooks.pipeline_switch_hook import PipelineSwitchHook
from mmdet_centernet.engine.hooks.progress_line_hook import ProgressLineHook
from mmdet_centernet.engine.hooks.skeleton_hook import SkeletonHook

__all__ = [
    'CheckBoxesHook', 'CheckCheckpointHook', 'CheckLossHook', 'CheckNumClassesHook',
    'ClassCountsHook', 'DistillationHook', 'FreezeHook', 'GradientCheckpointHook',
    'PipelineSwitchHook', 'ProgressLineHook', 'SkeletonHook'
]
