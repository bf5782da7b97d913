# The original implementation's multi_pose_dla_3x: as multi_pose_dla_1x.py for 320 epochs, the rate
# divided by 10 after 270 and 300. Published keypoint AP on COCO val2017: 58.9 with flip. In its
# script two dashes are missing before lr_step, so that it stops at once, and the command that
# resumes from multi_pose_dla_1x leaves out both epochs and steps.
_base_ = [
    '../_base_/models/official_pose_dla34.py',
    '../_base_/datasets/coco_pose.py',
    '../_base_/schedules/adam_140e.py',
    '../_base_/pose_runtime.py',
]

load_from = 'data/pretrained/ctdet_coco_dla_2x.pth'
# The detector has it.
model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(max_epochs=320)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=320, by_epoch=True, milestones=[270, 300], gamma=0.1),
]
