# MMDetection's CenterNetUpdateHead at one level, stride 4, as CenterNet-S4 of the CenterNet2
# project: 64 channels, one convolution with group norm per branch, all sizes at this level.
# Targets, losses and NMS as in MMDetection's
# configs/centernet/centernet-update_r50-caffe_fpn_ms-1x_coco.py, but a box loss of weight 1, the
# project's for this model. The neck is ours, because MMDetection has none with one output.
_base_ = './_base_320.py'

model = dict(
    type='mmdet.CenterNet',
    backbone=dict(out_strides=(4, 8, 16, 32)),
    neck=dict(
        type='mmdet_centernet.DLAUp',
        in_channels=(24, 40, 112, 320),
        in_strides=(4, 8, 16, 32),
        channels=(64, 64, 64, 96),
        use_dcn=False),
    bbox_head=dict(
        type='mmdet.CenterNetUpdateHead',
        num_classes=80,
        in_channels=64,
        stacked_convs=1,
        feat_channels=64,
        strides=[4],
        regress_ranges=((0, 1e9), ),
        hm_min_radius=4,
        hm_min_overlap=0.8,
        more_pos_thresh=0.2,
        more_pos_topk=9,
        soft_weight_on_reg=False,
        loss_cls=dict(
            type='mmdet.GaussianFocalLoss', pos_weight=0.25, neg_weight=0.75, loss_weight=1.0),
        loss_bbox=dict(type='mmdet.GIoULoss', loss_weight=1.0)),
    train_cfg=None,
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100))
