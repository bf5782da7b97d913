# The original's multi_pose_hg_1x. Published keypoint AP on COCO val2017: 58.7 with flip. Four GPUs
# x 6; the original has 4 images on the first of five GPUs and 5 on each other one. Its script
# forgets the data set, and the detection data that it then takes have no joints.
#
# It starts from a detector: put the original's ctdet_coco_hg.pth, converted for ctdet_coco_hg.py,
# where `load_from` says, or name another file. What does not fit, the branches for joints and the
# last layer of the 80 classes' heat map, starts anew.
_base_ = [
    '../_base_/models/official_pose_hg104.py',
    '../_base_/datasets/coco_pose_pad127.py',
    '../_base_/schedules/adam_50e.py',
    '../_base_/pose_runtime.py',
]

load_from = 'data/pretrained/ctdet_coco_hg.pth'
train_dataloader = dict(batch_size=6)
