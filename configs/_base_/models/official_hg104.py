# Hourglass-104, two stacks with intermediate supervision (Objects as Points, Sec. 5); loss and
# preprocessing of the paper's own code. A new Hourglass has no published backbone weights.
_base_ = './official_resdcn18.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=128),
    backbone=dict(_delete_=True, type='mmdet.HourglassNet'),
    neck=None,
    # The original averages the losses of the stacks, which the head adds up.
    bbox_head=dict(
        in_channels=256,
        feat_channels=256,
        num_stacks=2,
        loss_center_heatmap=dict(loss_weight=0.5),
        loss_wh=dict(loss_weight=0.05),
        loss_offset=dict(loss_weight=0.5)))
