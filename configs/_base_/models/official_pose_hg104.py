# Human pose with Hourglass-104, two stacks with intermediate supervision, fed and trained as in
# the original implementation.
_base_ = './centernet_hg104.py'

model = dict(
    bbox_head=dict(
        type='mmdet_centernet.CenterNetPoseHead',
        num_classes=1,
        num_keypoints=17,
        coder=dict(radius='official', min_overlap=0.7, trust_rotated_boxes=False),
        loss_keypoint_displacement=dict(type='mmdet.L1Loss', loss_weight=0.5),
        loss_keypoint_heatmap=dict(
            type='mmdet_centernet.GaussianFocalLoss', loss_weight=0.5, min_probability=1e-4),
        loss_keypoint_offset=dict(type='mmdet.L1Loss', loss_weight=0.5)))
