# For training on few images with pretrained weights: AdamW at the rate of adamw_tree_crowns.py,
# warm-up, then a cosine to zero over all epochs, and averaged weights.
#
# For another length change three settings to the same number:
# `train_cfg.max_epochs=50 param_scheduler.1.T_max=50 param_scheduler.1.end=50`.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(type='norm', max_norm=35))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR', T_max=20, by_epoch=True, begin=0, end=20,
        convert_to_iter_based=True),
]

# The average of the weights over about 250 steps is evaluated and saved, as in
# centernet_lite0_tree_crowns.py. For trainings of many thousand steps: momentum=0.0002 and
# gamma=2000, as in centernet_r18_dcn_ema_140e_coco.py.
custom_hooks = [
    dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=100,
         update_buffers=True),
]

# `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=8)
