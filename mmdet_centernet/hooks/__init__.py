"""Hooks: checks that stop a run with one sentence, and the progress line."""
from .check_checkpoint_hook import CheckCheckpointHook
from .check_loss_hook import CheckLossHook
from .check_num_classes_hook import CheckNumClassesHook
from .progress_line_hook import ProgressLineHook

__all__ = ['CheckCheckpointHook', 'CheckLossHook', 'CheckNumClassesHook', 'ProgressLineHook']
