# Hourglass-104, 4 GPUs x 6 images; optimizer, schedule and crop are the paper's, the radius is
# that of centernet_r18_dcn_140e_coco.py. To start from the original implementation's weights,
# convert them and add `--cfg-options load_from=FILE`; from random weights, 50 epochs are few.
# Reference: 40.3 box AP on COCO val2017 (42.2 with flip), published by the paper for training that
# started from ExtremeNet's weights (official/ctdet_coco_hg.py).
_base_ = [
    './_base_/models/centernet_hg104.py',
    './_base_/datasets/coco_detection_pad127.py',
    './_base_/schedules/adam_50e.py',
    './_base_/default_runtime.py',
]

train_dataloader = dict(batch_size=6)
