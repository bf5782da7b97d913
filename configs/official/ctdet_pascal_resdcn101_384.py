# The original implementation's ctdet_pascal_resdcn101_384. Published mAP on VOC 2007 test, 11
# points, with flip: 77.1. Two GPUs x 16.
_base_ = [
    '../_base_/models/official_pascal_resdcn18.py',
    '../_base_/datasets/voc0712.py',
    '../_base_/schedules/adam_70e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='pretrained://resnet101')),
    neck=dict(in_channels=2048))
train_dataloader = dict(batch_size=16)
