# The original implementation's ctdet_coco_dla_1x. Published AP on COCO val2017: 36.3 (38.2 with
# flip, 40.7 with flip at five scales). Eight GPUs x 16; the original implementation has 9 images
# on the first GPU and 17 on each other one.
_base_ = [
    '../_base_/models/official_dla34.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adam_140e.py',
    '../_base_/default_runtime.py',
]

# As there, images without objects count too, and boxes of crowds are objects.
train_dataloader = dict(dataset=dict(filter_cfg=None, crowd_as_objects=True))
