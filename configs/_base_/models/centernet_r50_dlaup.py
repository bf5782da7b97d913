# CenterNet with ResNet-50 and the pyramid neck of DLA-34.
_base_ = './centernet_r18_dcn.py'

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='pretrained://resnet50')),
    neck=dict(
        _delete_=True,
        type='mmdet_centernet.DLAUp',
        in_channels=(256, 512, 1024, 2048),
        in_strides=(4, 8, 16, 32),
        # The widths of DLA-34: aggregating the ResNet's own would cost many times as much.
        channels=(64, 128, 256, 512)),
    bbox_head=dict(feat_channels=256))
