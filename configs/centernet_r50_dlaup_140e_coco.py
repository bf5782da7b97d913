# ResNet-50 with the pyramid neck of DLA-34, 8 GPUs x 16 images; recipe of
# centernet_dla34_140e_coco.py. Reference: 38.9 box AP on COCO val2017, published by
# PaddleDetection for a stronger ResNet-50 (variant D, distilled weights, DCNv2 in its last
# stage) trained with averaged weights and synchronized batch normalization.
_base_ = [
    './_base_/models/centernet_r50_dlaup.py',
    './_base_/datasets/coco_detection.py',
    './_base_/schedules/adam_140e.py',
    './_base_/default_runtime.py',
]
