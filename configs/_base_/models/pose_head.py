# The head for human pose with the loss of the paper's own code, for the models beside this file,
# which say how wide it is. The joints are those of COCO's people; which of them are mirror images
# of each other it learns from the data set.
pose_head = dict(
    type='mmdet_centernet.CenterNetPoseHead',
    num_classes=1,
    num_keypoints=17,
    coder=dict(
        type='mmdet_centernet.CenterCoder',
        stride=4,
        radius='official',
        min_overlap=0.7,
        shared_cells='all',
        trust_rotated_boxes=False),
    loss_center_heatmap=dict(
        type='mmdet_centernet.GaussianFocalLoss', loss_weight=1.0, min_probability=1e-4),
    loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.1),
    loss_offset=dict(type='mmdet.L1Loss', loss_weight=1.0),
    loss_keypoint_displacement=dict(type='mmdet.L1Loss', loss_weight=1.0),
    loss_keypoint_heatmap=dict(
        type='mmdet_centernet.GaussianFocalLoss', loss_weight=1.0, min_probability=1e-4),
    loss_keypoint_offset=dict(type='mmdet.L1Loss', loss_weight=1.0))
