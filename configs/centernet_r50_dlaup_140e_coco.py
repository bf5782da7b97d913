# ResNet-50 with the pyramid neck of DLA-34, 8 GPUs x 16 images; recipe of
# centernet_dla34_140e_coco.py. Reference: 38.9 box AP on COCO val2017, published by
# PaddleDetection for a stronger ResNet-50 (variant D, distilled weights, DCNv2 in its last
# stage) trained with averaged weights and synchronised batch normalisation.
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/coco_detection.py',
    './_base_/schedules/adam_140e.py',
    './_base_/default_runtime.py',
]

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
