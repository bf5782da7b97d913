# 3D boxes of one camera with DLA-34 (Objects as Points, Sec. 4.1).
_base_ = ['./centernet_dla34.py', './mono3d_head.py']

model = dict(bbox_head=dict(
    _delete_=True, in_channels=64, feat_channels=256, **_base_.mono3d_head))
