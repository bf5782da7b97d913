# As centernet_r18_dcn_140e_coco.py with plain 3x3 convolutions instead of DCNv2. Reference:
# 25.9 box AP on COCO val2017 (published by MMDetection for this recipe, no flip).
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/coco_detection_crop512.py',
    './_base_/schedules/sgd_140e.py',
    './_base_/default_runtime.py',
]

model = dict(neck=dict(use_dcn=False))
