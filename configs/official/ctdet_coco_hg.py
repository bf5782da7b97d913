# The original implementation's ctdet_coco_hg. Published AP on COCO val2017: 40.3 (42.2 with flip,
# 45.1 with flip at five scales).
#
# It starts from ExtremeNet's weights, for which this package knows no source: without `load_from`
# training starts from random weights, and the published AP is not to be expected after 50 epochs.
# The original script leaves the schedule at its default of 140 epochs; its model zoo says what was
# run: 50, the rate divided by 10 after 40.
_base_ = [
    '../_base_/models/centernet_hg104.py',
    '../_base_/datasets/coco_detection_pad127.py',
    '../_base_/schedules/adam_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(bbox_head=dict(coder=dict(radius='official', min_overlap=0.7)))
# Four GPUs x 6; the original implementation has 4 images on the first of five GPUs and 5 on each
# other one. As there, images without objects count too, and boxes of crowds are objects.
train_dataloader = dict(batch_size=6, dataset=dict(filter_cfg=None, crowd_as_objects=True))
