# The original's multi_pose_dla_1x. Published keypoint AP on COCO val2017: 54.7 with flip. Eight
# GPUs x 16; the original has 9 images on the first GPU and 17 on each other one.
#
# It starts from a detector: put its ctdet_coco_dla_2x.pth, converted for ctdet_coco_dla_2x.py,
# where `load_from` says, or name another file. What does not fit, the branches for joints and the
# last layer of the 80 classes' heat map, starts anew.
_base_ = [
    '../_base_/models/official_pose_dla34.py',
    '../_base_/datasets/coco_pose.py',
    '../_base_/schedules/adam_140e.py',
    '../_base_/pose_runtime.py',
]

load_from = 'data/pretrained/ctdet_coco_dla_2x.pth'
# The detector brings it.
model = dict(backbone=dict(init_cfg=None))
