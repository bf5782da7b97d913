# Human pose with DLA-34 (Objects as Points, Sec. 4.2).
_base_ = ['./centernet_dla34.py', './pose_head.py']

model = dict(bbox_head=dict(
    _delete_=True, in_channels=64, feat_channels=256, **_base_.pose_head))
