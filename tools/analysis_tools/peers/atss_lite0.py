# MMDetection's ATSS: a pyramid of 96 channels and two convolutions with group norm per branch;
# anchors, assigner, losses and NMS as in its configs/atss/atss_r50_fpn_1x_coco.py.
_base_ = './_base_320.py'

model = dict(
    type='mmdet.ATSS',
    neck=dict(
        type='mmdet.FPN',
        in_channels=[40, 112, 320],
        out_channels=96,
        add_extra_convs='on_output',
        num_outs=5),
    bbox_head=dict(
        type='mmdet.ATSSHead',
        num_classes=80,
        in_channels=96,
        stacked_convs=2,
        feat_channels=96,
        anchor_generator=dict(
            type='mmdet.AnchorGenerator',
            ratios=[1.0],
            octave_base_scale=8,
            scales_per_octave=1,
            strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(
            type='mmdet.DeltaXYWHBBoxCoder',
            target_means=[.0, .0, .0, .0],
            target_stds=[0.1, 0.1, 0.2, 0.2]),
        loss_cls=dict(
            type='mmdet.FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type='mmdet.GIoULoss', loss_weight=2.0),
        loss_centerness=dict(
            type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)),
    train_cfg=dict(
        assigner=dict(type='mmdet.ATSSAssigner', topk=9),
        allowed_border=-1,
        pos_weight=-1,
        debug=False),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100))
