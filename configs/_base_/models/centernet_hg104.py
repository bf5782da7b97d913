# CenterNet with Hourglass-104, two stacks with intermediate supervision (Objects as Points,
# Sec. 5). The only published weights of this network are the original implementation's, so that
# images are normalized as they expect: BGR, with the statistics of COCO's pixels.
model = dict(
    type='mmdet_centernet.CenterNet',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        # (0.40789654, 0.44719302, 0.47026115) and (0.28863828, 0.27408164, 0.27809835) x 255
        mean=[104.0136177, 114.0342201, 119.91659325],
        std=[73.6027614, 69.8908182, 70.91507925],
        bgr_to_rgb=False,
        pad_size_divisor=128),
    backbone=dict(type='mmdet.HourglassNet'),
    neck=None,
    # The losses of the two stacks, which the head adds up, are averaged.
    bbox_head=dict(
        type='mmdet_centernet.CenterNetHead',
        num_classes=80,
        in_channels=256,
        feat_channels=256,
        num_stacks=2,
        normalizer='objects',
        coder=dict(
            type='mmdet_centernet.CenterCoder',
            stride=4,
            radius='corrected',
            min_overlap=0.3,
            shared_cells='all'),
        loss_center_heatmap=dict(
            type='mmdet_centernet.GaussianFocalLoss', loss_weight=0.5, min_probability=1e-4),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.05),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=0.5)),
    test_cfg=dict(max_per_img=100, local_maximum_kernel=3))
