# Short training on few images: AdamW, warm-up, cosine. The 42 tiles count eight times
# (RepeatDataset), so that an epoch of MMEngine is 84 steps of 4 images: 10 of them are 80 epochs,
# 840 steps.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR', T_max=10, by_epoch=True, begin=0, end=10,
        convert_to_iter_based=True),
]

# `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=4)
