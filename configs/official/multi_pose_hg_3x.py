# The original implementation's multi_pose_hg_3x: as multi_pose_hg_1x.py for 150 epochs, the rate
# divided by 10 after 130. Published keypoint AP on COCO val2017: 64.0 with flip. In its script a
# dash is missing before load_model too, so that it stops at once.
_base_ = [
    '../_base_/models/official_pose_hg104.py',
    '../_base_/datasets/coco_pose_pad127.py',
    '../_base_/schedules/adam_50e.py',
    '../_base_/pose_runtime.py',
]

load_from = 'data/pretrained/ctdet_coco_hg.pth'
train_dataloader = dict(batch_size=6)
train_cfg = dict(max_epochs=150)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=150, by_epoch=True, milestones=[130], gamma=0.1),
]
