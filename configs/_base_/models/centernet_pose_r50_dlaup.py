# Human pose with ResNet-50 and the pyramid neck of DLA-34.
_base_ = ['./centernet_r50_dlaup.py', './pose_head.py']

model = dict(bbox_head=dict(
    _delete_=True, in_channels=64, feat_channels=256, **_base_.pose_head))
