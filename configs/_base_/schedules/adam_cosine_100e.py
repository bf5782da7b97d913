# bubbliiiing's schedule: Adam from 5e-4 to 5e-6 by a cosine over 100 epochs, with three epochs of
# warm-up at the start and five at the lowest rate at the end.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, begin=0, end=3),
    dict(type='CosineAnnealingLR', T_max=92, eta_min=5e-6, by_epoch=True, begin=3, end=95),
]

# `--auto-scale-lr` scales the rate to what is run.
auto_scale_lr = dict(enable=False, base_batch_size=16)
