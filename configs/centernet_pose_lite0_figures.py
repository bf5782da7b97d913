# The pose demo: synthetic figures with seven joints, learnt on a CPU in minutes.
# EfficientNet-Lite0 from ImageNet with its stages of strides 2 and 4 frozen, which shortens a
# step. Recipe found by trial on these data.
_base_ = [
    './_base_/models/centernet_pose_lite0_dlaup.py',
    './_base_/datasets/figures.py',
    './_base_/schedules/adamw_figures.py',
    './_base_/pose_runtime.py',
]

model = dict(
    backbone=dict(frozen_stages=2),
    bbox_head=dict(
        num_classes=1,
        num_keypoints=7,
        # Learnt around the centres, not only there, the joints' places come much sooner.
        dense_displacement=True,
        loss_wh=dict(loss_weight=0.3)))
# What is tested is the average of the weights over some 250 steps.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=100,
         update_buffers=True),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
