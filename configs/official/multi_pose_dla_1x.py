# The original implementation's multi_pose_dla_1x. Published keypoint AP on COCO val2017: 54.7 with
# flip. Eight GPUs x 16; the original implementation has 9 images on the first GPU and 17 on each
# other one.
#
# It starts from a detector: put the original implementation's ctdet_coco_dla_2x.pth, converted for
# ctdet_coco_dla_2x.py, where `load_from` says, or name another file. The tensors that do not fit,
# those of the keypoints' branches and the last layer of the heatmap for 80 classes, start from
# random values.
_base_ = [
    '../_base_/models/official_pose_dla34.py',
    '../_base_/datasets/coco_pose.py',
    '../_base_/schedules/adam_140e.py',
    '../_base_/pose_runtime.py',
]

load_from = 'data/pretrained/ctdet_coco_dla_2x.pth'
# The detector has it.
model = dict(backbone=dict(init_cfg=None))
