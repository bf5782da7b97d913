# The detector of configs/centernet_lite0_tree_crowns.py, trained as its peers.
_base_ = './_base_320.py'

model = dict(
    type='mmdet_centernet.CenterNet',
    backbone=dict(out_strides=(4, 8, 16, 32)),
    neck=dict(
        type='mmdet_centernet.DLAUp',
        in_channels=(24, 40, 112, 320),
        in_strides=(4, 8, 16, 32),
        channels=(32, 48, 64, 96),
        use_dcn=False),
    bbox_head=dict(
        type='mmdet_centernet.CenterNetHead',
        num_classes=80,
        in_channels=32,
        feat_channels=64,
        coder=dict(
            type='mmdet_centernet.CenterCoder', stride=4, radius='corrected', min_overlap=0.3),
        loss_center_heatmap=dict(type='mmdet_centernet.GaussianFocalLoss', loss_weight=1.0),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.2),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=1.0)),
    test_cfg=dict(max_per_img=100, local_maximum_kernel=3))
