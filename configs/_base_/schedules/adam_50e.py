# The original implementation's schedule for the Hourglass: Adam at 2.5e-4 for 24 images a step, 50
# epochs, the rate divided by 10 after 40.
_base_ = './adam_140e.py'

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=50, by_epoch=True, milestones=[40], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=24)
