# 3D boxes of one camera for CPUs and phones: EfficientNet-Lite0 and a pyramid neck of plain
# convolutions.
_base_ = ['./centernet_lite0_dlaup.py', './mono3d_head.py']

model = dict(bbox_head=dict(
    _delete_=True, in_channels=32, feat_channels=64, **_base_.mono3d_head))
