# The original implementation's schedule for COCO ("1x"): Adam at 5e-4 for 128 images a step, 140
# epochs, the rate divided by 10 after 90 and 120; no warm-up, no weight decay.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=140, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=140, by_epoch=True, milestones=[90, 120], gamma=0.1),
]

# 8 GPUs x 16 images; `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=128)
