# Human pose with ResNet-50 and the pyramid neck of DLA-34, 8 GPUs x 16 images; recipe of
# centernet_pose_dla34_140e_coco.py. No reference AP: nobody has published this combination.
_base_ = [
    './_base_/models/centernet_pose_r50_dlaup.py',
    './_base_/datasets/coco_pose.py',
    './_base_/schedules/adam_140e.py',
    './_base_/pose_runtime.py',
]
