# MMDetection's CenterNet schedule: SGD at 0.02 for 128 images a step, warm-up, 140 epochs, the
# rate divided by 10 after 90 and 120. The data set counts five times (RepeatDataset), so that
# MMEngine counts 28 epochs, and the last checkpoint is epoch_28.pth.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=28, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', begin=0, end=28, by_epoch=True, milestones=[18, 24], gamma=0.1),
]

# 8 GPUs x 16 images; `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=128)
