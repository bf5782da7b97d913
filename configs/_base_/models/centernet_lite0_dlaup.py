# CenterNet for CPUs and phones: EfficientNet-Lite0, a pyramid of strides 4 to 32 fused by
# iterative deep aggregation with plain convolutions.
_base_ = './centernet_r18_dcn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet_centernet.EfficientNetLite',
        variant='lite0',
        out_strides=(4, 8, 16, 32),
        init_cfg=dict(type='Pretrained', checkpoint='pretrained://efficientnet_lite0')),
    neck=dict(
        _delete_=True,
        type='mmdet_centernet.DLAUp',
        in_channels=(24, 40, 112, 320),
        in_strides=(4, 8, 16, 32),
        channels=(32, 48, 64, 96),
        use_dcn=False),
    bbox_head=dict(in_channels=32, feat_channels=64))
