# ResNet-50 with DCNv2 on Pascal VOC 2007 + 2012, 512 x 512; schedule of bubbliiiing's
# centernet-pytorch, which freezes the backbone in the first half. Batches have 16 images
# throughout; there they have 16 while the backbone is frozen and 8 afterwards, to fit small GPUs,
# at the same rate. Reference: 77.1 mAP on VOC 2007 test, published there for a ResNet-50 without
# DCNv2 (bubbliiiing/resnet50_voc.py).
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/voc0712_512.py',
    './_base_/schedules/adam_cosine_100e.py',
    './_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=50, init_cfg=dict(checkpoint='pretrained://resnet50')),
    neck=dict(in_channels=2048),
    bbox_head=dict(num_classes=20))
custom_hooks = [
    dict(type='mmdet_centernet.FreezeHook', modules=('backbone', ), epochs=50),
]
