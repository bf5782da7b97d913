# EfficientNet-Lite0 with today's losses, for CPUs, phones and few images: a pyramid of strides 8
# to 32 fused by iterative deep aggregation with plain convolutions, and distances to the four
# sides trained by GIoU in several cells. docs/accuracy.md tells what each choice brought.
_base_ = './centernet_lite0_dlaup.py'

model = dict(
    backbone=dict(out_strides=(8, 16, 32)),
    neck=dict(in_channels=(40, 112, 320), in_strides=(8, 16, 32), channels=(96, 96, 96)),
    bbox_head=dict(
        _delete_=True,
        type='mmdet_centernet.CenterHead',
        num_classes=80,
        in_channels=96,
        feat_channels=96,
        num_convs=2,
        norm_cfg=dict(type='GN', num_groups=32),
        prior=0.01,
        coder=dict(
            type='mmdet_centernet.CenterCoder', stride=8, heatmap='area', min_overlap=0.8,
            min_radius=8),
        loss_center_heatmap=dict(
            type='mmdet_centernet.GaussianFocalLoss', pos_weight=0.25, neg_weight=0.75),
        properties=[
            dict(
                type='mmdet_centernet.LTRB', cells='gaussian', activation='exp',
                init_distance=4.0, more_pos=0.2,
                loss_bbox=dict(type='mmdet.GIoULoss', loss_weight=2.0)),
        ]),
    test_cfg=dict(
        max_per_img=100, topk=1000, local_maximum_kernel=1, score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6)))
