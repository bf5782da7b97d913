# Human pose with Hourglass-104, two stacks with intermediate supervision, trained and fed as in
# the paper's own code.
_base_ = './official_pose_dla34.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    backbone=dict(_delete_=True, type='mmdet.HourglassNet'),
    neck=None,
    # The original averages the losses of the stacks, which the head adds up.
    bbox_head=dict(
        in_channels=256,
        num_stacks=2,
        loss_center_heatmap=dict(loss_weight=0.5),
        loss_wh=dict(loss_weight=0.05),
        loss_offset=dict(loss_weight=0.5),
        loss_keypoint_displacement=dict(loss_weight=0.5),
        loss_keypoint_heatmap=dict(loss_weight=0.5),
        loss_keypoint_offset=dict(loss_weight=0.5)))
