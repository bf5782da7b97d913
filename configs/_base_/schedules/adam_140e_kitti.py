# MonoDLE's schedule for KITTI: Adam at 1.25e-3 for 16 images a step, 140 epochs, the rate divided
# by 10 after 90 and 120, five epochs of warm-up from 1e-5 (linear here, along a cosine there).
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=140, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1.25e-3, weight_decay=1e-5))
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.008, by_epoch=True, begin=0, end=5,
        convert_to_iter_based=True),
    dict(type='MultiStepLR', begin=0, end=140, by_epoch=True, milestones=[90, 120], gamma=0.1),
]

# `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=16)
