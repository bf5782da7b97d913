# ResNet-50 with DCNv2, 8 GPUs x 16 images; recipe of centernet_r18_dcn_140e_coco.py. No
# reference AP: nobody has published this combination.
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/coco_detection_crop512.py',
    './_base_/schedules/sgd_140e.py',
    './_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='pretrained://resnet50')),
    neck=dict(in_channels=2048))
