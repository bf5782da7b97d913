# ResNet-18 with DCNv2, 8 GPUs x 16 images. The recipe is MMDetection's: optimizer, crop,
# ImageNet statistics on RGB, radius. Reference: 29.5 box AP on COCO val2017 (published by
# MMDetection for this recipe, no flip); the paper's own recipe reaches 28.1 (30.0 with flip).
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/coco_detection_crop512.py',
    './_base_/schedules/sgd_140e.py',
    './_base_/default_runtime.py',
]
