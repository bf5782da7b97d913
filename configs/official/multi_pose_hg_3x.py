# The original's multi_pose_hg_3x: as multi_pose_hg_1x for 150 epochs, the rate divided by 10
# after 130. Published keypoint AP on COCO val2017: 64.0 with flip. In its script a dash is missing
# before load_model too, so that it stops at once.
_base_ = './multi_pose_hg_1x.py'

train_cfg = dict(max_epochs=150)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=150, by_epoch=True, milestones=[130], gamma=0.1),
]
