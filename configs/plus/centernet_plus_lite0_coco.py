# EfficientNet-Lite0 with a pyramid neck of plain convolutions, for CPUs and phones, and the recipe
# of centernet_plus_dla34_coco.py, which says where it comes from. Not trained here, and no
# reference: nobody has published this combination.
_base_ = [
    '../_base_/models/centernet_lite0_dlaup.py',
    '../_base_/datasets/coco_detection_lsj640.py',
    '../_base_/schedules/sgd_cosine_98e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    bbox_head=dict(
        _delete_=True,
        type='mmdet_centernet.CenterHead',
        num_classes=80,
        in_channels=32,
        feat_channels=64,
        norm_cfg=dict(type='GN', num_groups=32),
        prior=0.01,
        coder=dict(
            type='mmdet_centernet.CenterCoder', stride=4, heatmap='area', min_overlap=0.8,
            min_radius=4),
        loss_center_heatmap=dict(
            type='mmdet_centernet.GaussianFocalLoss', pos_weight=0.25, neg_weight=0.75,
            min_probability=1e-4),
        properties=[
            dict(
                type='mmdet_centernet.LTRB', cells='3x3', more_pos=0.2,
                loss_bbox=dict(type='mmdet.GIoULoss', loss_weight=1.0)),
        ]),
    test_cfg=dict(
        max_per_img=100, topk=1000, local_maximum_kernel=1, score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6)))
