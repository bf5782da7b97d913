# The original implementation's ctdet_pascal_resdcn101_512. Published mAP on VOC 2007 test, 11
# points, with flip: 78.7. Four GPUs x 8.
_base_ = [
    '../_base_/models/official_pascal_resdcn18.py',
    '../_base_/datasets/voc0712_512.py',
    '../_base_/schedules/adam_70e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='pretrained://resnet101')),
    neck=dict(in_channels=2048))
train_dataloader = dict(batch_size=8)
