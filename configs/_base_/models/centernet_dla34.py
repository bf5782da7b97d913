# CenterNet with DLA-34 and deep aggregation by DCNv2 (Objects as Points, Sec. 5).
model = dict(
    type='mmdet_centernet.CenterNet',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(
        type='mmdet_centernet.DLA',
        variant='dla34',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained://dla34')),
    neck=dict(
        type='mmdet_centernet.DLAUp',
        in_channels=(64, 128, 256, 512),
        in_strides=(4, 8, 16, 32)),
    bbox_head=dict(
        type='mmdet_centernet.CenterNetHead',
        num_classes=80,
        in_channels=64,
        feat_channels=256,
        coder=dict(
            type='mmdet_centernet.CenterCoder',
            stride=4,
            radius='corrected',
            min_overlap=0.3),
        loss_center_heatmap=dict(type='mmdet_centernet.GaussianFocalLoss', loss_weight=1.0),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.1),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=1.0)),
    test_cfg=dict(max_per_img=100, local_maximum_kernel=3))
