# As centernet_dla34_140e_coco.py, trained longer. Reference: 37.4 box AP on COCO val2017 (39.2
# with flip), published by the paper for its own recipe (official/ctdet_coco_dla_2x.py).
_base_ = [
    './_base_/models/centernet_dla34.py',
    './_base_/datasets/coco_detection.py',
    './_base_/schedules/adam_230e.py',
    './_base_/default_runtime.py',
]
