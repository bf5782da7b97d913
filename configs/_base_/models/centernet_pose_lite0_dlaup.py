# Human pose for CPUs and phones: EfficientNet-Lite0 and a pyramid neck of plain convolutions.
# The loss is the original implementation's. The keypoints are those of COCO's people; which of
# them swap places in a flipped image, the head learns from the data set.
_base_ = './centernet_lite0_dlaup.py'

model = dict(
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
