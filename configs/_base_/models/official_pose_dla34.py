# Human pose with DLA-34, fed and trained as in the original implementation.
_base_ = './centernet_dla34.py'

model = dict(
    data_preprocessor=dict(
        # (0.40789654, 0.44719302, 0.47026115) and (0.28863828, 0.27408164, 0.27809835) x 255
        mean=[104.0136177, 114.0342201, 119.91659325],
        std=[73.6027614, 69.8908182, 70.91507925],
        bgr_to_rgb=False),
    neck=dict(conv_bias=True),
    bbox_head=dict(
        type='mmdet_centernet.CenterNetPoseHead',
        num_classes=1,
        num_keypoints=17,
        coder=dict(
            radius='official', min_overlap=0.7, shared_cells='all', trust_rotated_boxes=False),
        loss_center_heatmap=dict(min_probability=1e-4),
        loss_keypoint_displacement=dict(type='mmdet.L1Loss', loss_weight=1.0),
        loss_keypoint_heatmap=dict(
            type='mmdet_centernet.GaussianFocalLoss', loss_weight=1.0, min_probability=1e-4),
        loss_keypoint_offset=dict(type='mmdet.L1Loss', loss_weight=1.0)))
