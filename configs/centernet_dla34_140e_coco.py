# DLA-34, 8 GPUs x 16 images. Optimizer, schedule and crop are the paper's, because nobody has
# published results of this network with others; normalization and radius are those of
# centernet_r18_dcn_140e_coco.py. Reference: 36.3 box AP on COCO val2017 (38.2 with flip),
# published by the original implementation for its own recipe (official/ctdet_coco_dla_1x.py).
_base_ = [
    './_base_/models/centernet_dla34.py',
    './_base_/datasets/coco_detection.py',
    './_base_/schedules/adam_140e.py',
    './_base_/default_runtime.py',
]
