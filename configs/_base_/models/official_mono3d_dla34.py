# 3D boxes of one camera with DLA-34, fed, trained and tested as in the original implementation.
_base_ = './centernet_dla34.py'

model = dict(
    # ImageNet's statistics, which are in RGB order, are applied to BGR images there.
    # (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) x 255
    data_preprocessor=dict(bgr_to_rgb=False),
    neck=dict(conv_bias=True),
    bbox_head=dict(
        type='mmdet_centernet.CenterNetMono3DHead',
        num_classes=3,
        normalizer='slots',
        max_objects=50,
        coder=dict(
            radius='official', min_overlap=0.7, shared_cells='all', round_up=False,
            ignore='center'),
        loss_center_heatmap=dict(min_probability=1e-4),
        loss_depth=dict(type='mmdet.L1Loss', loss_weight=1.0),
        loss_dims=dict(type='mmdet.L1Loss', loss_weight=1.0),
        loss_orientation=dict(type='mmdet_centernet.MultiBinLoss', loss_weight=1.0)),
    test_cfg=dict(score_thr=0.2, shift_sizes=True))
