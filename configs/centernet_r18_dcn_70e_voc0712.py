# ResNet-18 with DCNv2 on Pascal VOC 2007 + 2012, 384 x 384, one GPU x 32 images. Schedule and
# resolution are those of the original implementation's ctdet_pascal_resdcn18_384; normalization
# and radius are those of centernet_r18_dcn_140e_coco.py. Reference: 72.6 mAP on VOC 2007 test (11
# points), published by the original implementation for its own recipe, with flip.
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/voc0712.py',
    './_base_/schedules/adam_70e.py',
    './_base_/default_runtime.py',
]

model = dict(bbox_head=dict(num_classes=20))
train_dataloader = dict(batch_size=32)
