# CenterNet-S4's schedule for COCO ("8x", CenterNet2 project): SGD at 0.08 for 128 images a step,
# a warm-up of 1000 steps, then a cosine to zero over 98 epochs; each element of the gradients is
# clipped, and normalization layers have no weight decay.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=98, val_interval=7)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.08, momentum=0.9, weight_decay=0.0001),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(type='value', clip_value=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR', T_max=98, by_epoch=True, begin=0, end=98,
        convert_to_iter_based=True),
]

# 8 GPUs x 16 images; `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=128)
