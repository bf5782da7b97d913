# CenterNet with DLA-34 and deep aggregation by DCNv2 (Objects as Points, Sec. 5).
_base_ = './centernet_r18_dcn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet_centernet.DLA',
        variant='dla34',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained://dla34')),
    neck=dict(
        _delete_=True,
        type='mmdet_centernet.DLAUp',
        in_channels=(64, 128, 256, 512),
        in_strides=(4, 8, 16, 32)),
    bbox_head=dict(feat_channels=256))
