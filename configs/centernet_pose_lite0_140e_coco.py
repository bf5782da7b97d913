# Human pose with EfficientNet-Lite0 and a pyramid neck of plain convolutions, for CPUs and phones;
# recipe of centernet_pose_dla34_140e_coco.py. No reference AP: nobody has published this
# combination.
_base_ = [
    './_base_/models/centernet_pose_lite0_dlaup.py',
    './_base_/datasets/coco_pose.py',
    './_base_/schedules/adam_140e.py',
    './_base_/pose_runtime.py',
]
