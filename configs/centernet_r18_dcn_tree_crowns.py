# Tree crowns with the paper's ResNet-18 and deconvolution neck, for comparison: features of
# stride 32 alone learn small objects slowly (see centernet_lite0_tree_crowns.py), so that ten
# times as many steps are planned, for a GPU.
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/tree_crowns.py',
    './_base_/schedules/adamw_tree_crowns.py',
    './_base_/default_runtime.py',
]

model = dict(bbox_head=dict(num_classes=1))
train_cfg = dict(max_epochs=110)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(
        type='CosineAnnealingLR', T_max=110, by_epoch=True, begin=0, end=110,
        convert_to_iter_based=True),
]
