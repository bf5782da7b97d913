# The original implementation's schedule for Pascal VOC: Adam at 1.25e-4 for 32 images a step, 70
# epochs, the rate divided by 10 after 45 and 60.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=70, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1.25e-4))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=70, by_epoch=True, milestones=[45, 60], gamma=0.1),
]

# `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=32)
