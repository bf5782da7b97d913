# The original's ctdet_coco_dla_2x. Published AP on COCO val2017: 37.4 (39.2 with flip, 41.7 with
# flip at five scales). In its script two dashes are missing before lr_step, so that it stops at
# once, and the command that goes on from ctdet_coco_dla_1x forgets both epochs and steps.
_base_ = [
    '../_base_/models/official_dla34.py',
    '../_base_/datasets/official_coco.py',
    '../_base_/schedules/adam_230e.py',
    '../_base_/default_runtime.py',
]
