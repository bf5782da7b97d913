# The pose demo: synthetic figures with seven keypoints, learned on a CPU in minutes.
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
        # Keypoints are learned much sooner around the centers than only there.
        dense_displacement=True,
        loss_wh=dict(loss_weight=0.3)))
# The average of the weights over about 250 steps is tested.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=100,
         update_buffers=True),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
