# As official_dla34.py for Pascal VOC; statistics as in official_pascal_resdcn18.py.
_base_ = './official_dla34.py'

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    bbox_head=dict(num_classes=20))
