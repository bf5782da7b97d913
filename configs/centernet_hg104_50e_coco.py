# Hourglass-104, 4 GPUs x 6 images; optimiser, schedule and crop as the paper's, the radius that
# of centernet_r18_dcn_140e_coco.py. The only published weights of this network are the
# original's, so the input is normalised as they expect: after conversion,
# `--cfg-options load_from=FILE` starts from them. From nothing, 50 epochs are few. Reference:
# 40.3 box AP on COCO val2017 (42.2 with flip), published by the paper for training that started
# from ExtremeNet's weights (official/ctdet_coco_hg.py).
_base_ = [
    './_base_/models/official_hg104.py',
    './_base_/datasets/coco_detection_pad127.py',
    './_base_/schedules/adam_50e.py',
    './_base_/default_runtime.py',
]

model = dict(bbox_head=dict(coder=dict(radius='corrected', min_overlap=0.3)))
train_dataloader = dict(batch_size=6)
