# Short training on drawn figures: as adamw_tree_crowns.py for 12 epochs of 1600 pictures, that is
# 1608 steps of 12 images.
_base_ = './adamw_tree_crowns.py'

train_cfg = dict(max_epochs=12, val_interval=12)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR', T_max=12, by_epoch=True, begin=0, end=12,
        convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=12)
