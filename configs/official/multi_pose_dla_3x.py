# The original's multi_pose_dla_3x: as multi_pose_dla_1x for 320 epochs, the rate divided by 10
# after 270 and 300. Published keypoint AP on COCO val2017: 58.9 with flip. In its script two
# dashes are missing before lr_step, so that it stops at once, and the command that goes on from
# multi_pose_dla_1x forgets both epochs and steps.
_base_ = './multi_pose_dla_1x.py'

train_cfg = dict(max_epochs=320)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=320, by_epoch=True, milestones=[270, 300], gamma=0.1),
]
