"""Hooks: checks that stop a run with one sentence, the progress line, freezing."""
from .check_checkpoint_hook import CheckCheckpointHook
from .check_loss_hook import CheckLossHook
from .check_num_classes_hook import CheckNumClassesHook
from .freeze_hook import FreezeHook
from .progress_line_hook import ProgressLineHook
from .skeleton_hook import SkeletonHook

__all__ = [
    'CheckCheckpointHook', 'CheckLossHook', 'CheckNumClassesHook', 'FreezeHook',
    'ProgressLineHook', 'SkeletonHook'
]
