# The original implementation's multi_pose_hg_1x. Published keypoint AP on COCO val2017: 58.7 with
# flip. Four GPUs x 6; the original implementation has 4 images on the first of five GPUs and 5 on
# each other one. Its script leaves out the data set, and the detection data that it then takes
# have no keypoints.
#
# It starts from a detector: put the original implementation's ctdet_coco_hg.pth, converted for
# ctdet_coco_hg.py, where `load_from` says, or name another file. The tensors that do not fit,
# those of the keypoints' branches and the last layer of the heatmap for 80 classes, start from
# random values.
_base_ = [
    '../_base_/models/official_pose_hg104.py',
    '../_base_/datasets/coco_pose_pad127.py',
    '../_base_/schedules/adam_50e.py',
    '../_base_/pose_runtime.py',
]

load_from = 'data/pretrained/ctdet_coco_hg.pth'
train_dataloader = dict(batch_size=6)
