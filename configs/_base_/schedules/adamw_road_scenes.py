# Short training on drawn road scenes: as adamw_tree_crowns.py for 5 epochs of 1500 pictures,
# that is 940 steps of 8 images.
_base_ = './adamw_tree_crowns.py'

train_cfg = dict(max_epochs=5, val_interval=5)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR', T_max=5, by_epoch=True, begin=0, end=5,
        convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=8)
