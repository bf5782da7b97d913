# ResNet-101 with DCNv2, 8 GPUs x 16 images; recipe of centernet_r18_dcn_140e_coco.py. Reference:
# 34.6 box AP on COCO val2017 (36.2 with flip), published by the paper for its own recipe.
_base_ = './centernet_r50_dcn_140e_coco.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='pretrained://resnet101')))
