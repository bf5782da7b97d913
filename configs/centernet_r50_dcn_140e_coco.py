# ResNet-50 with DCNv2, 8 GPUs x 16 images; recipe of centernet_r18_dcn_140e_coco.py. No
# reference AP: nobody has published this combination.
_base_ = './centernet_r18_dcn_140e_coco.py'

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='pretrained://resnet50')),
    neck=dict(in_channels=2048))
