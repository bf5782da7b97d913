# Short training on drawn figures: AdamW, warm-up, cosine, 7 epochs of 1600 pictures, that is
# 938 steps of 12 images.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=7, val_interval=7)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR', T_max=7, by_epoch=True, begin=0, end=7,
        convert_to_iter_based=True),
]

# `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=12)
