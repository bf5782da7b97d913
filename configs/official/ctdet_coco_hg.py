# The original's ctdet_coco_hg. Published AP on COCO val2017: 40.3 (42.2 with flip, 45.1 with
# flip at five scales).
#
# It starts from ExtremeNet's weights, which this package knows no source of: without `load_from`
# training starts from nothing, and the published AP is not to be expected after 50 epochs. The
# original's script leaves the schedule at its default of 140 epochs; its model zoo says what was
# run: 50, the rate divided by 10 after 40.
_base_ = [
    '../_base_/models/official_hg104.py',
    '../_base_/datasets/coco_detection_pad127.py',
    '../_base_/schedules/adam_50e.py',
    '../_base_/default_runtime.py',
]

# Four GPUs x 6; the original has 4 images on the first of five GPUs and 5 on each other one.
# Images without objects and boxes of crowds teach, as in ../_base_/datasets/official_coco.py.
train_dataloader = dict(
    batch_size=6, dataset=dict(filter_cfg=None, crowd_as_objects=True))
