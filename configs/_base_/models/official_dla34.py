# DLA-34 with deep aggregation by DCNv2 (Objects as Points, Sec. 5); loss and preprocessing of
# the paper's own code.
_base_ = './official_resdcn18.py'

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
        in_strides=(4, 8, 16, 32),
        conv_bias=True),
    bbox_head=dict(feat_channels=256))
