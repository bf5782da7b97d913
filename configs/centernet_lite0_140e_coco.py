# EfficientNet-Lite0 with a pyramid neck, for CPUs and phones; recipe of
# centernet_r18_dcn_140e_coco.py. No reference AP: nobody has published this combination.
_base_ = [
    './_base_/models/centernet_lite0_dlaup.py',
    './_base_/datasets/coco_detection_crop512.py',
    './_base_/schedules/sgd_140e.py',
    './_base_/default_runtime.py',
]
