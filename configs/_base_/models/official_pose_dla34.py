# Human pose with DLA-34, trained and fed as in the paper's own code.
_base_ = ['./official_dla34.py', './pose_head.py']

model = dict(bbox_head=dict(
    _delete_=True, in_channels=64, feat_channels=256, **_base_.pose_head))
