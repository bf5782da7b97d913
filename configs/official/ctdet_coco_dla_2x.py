# The original implementation's ctdet_coco_dla_2x. Published AP on COCO val2017: 37.4 (39.2 with
# flip, 41.7 with flip at five scales). In its script two dashes are missing before lr_step, so
# that it stops at once, and the command that resumes from ctdet_coco_dla_1x leaves out both epochs
# and steps.
_base_ = [
    '../_base_/models/official_dla34.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adam_230e.py',
    '../_base_/default_runtime.py',
]

# As there, images without objects count too, and boxes of crowds are objects.
train_dataloader = dict(dataset=dict(filter_cfg=None, crowd_as_objects=True))
