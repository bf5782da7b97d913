# The ResNet-50 of bubbliiiing's centernet-pytorch on Pascal VOC 2007 + 2012, 512 x 512: plain
# deconvolutions, batch normalization in the heads, images and their statistics (BGR, COCO) as
# there. Published there: 77.1 mAP on VOC 2007 test.
#
# Shapes, schedule, loss and testing are that repository's; the random crops are ours. Testing
# stretches the image, the default there; docs/recipes.md has its letterbox. A score of 0.3 is
# required for drawing only, not for evaluation: model.test_cfg.score_thr.
_base_ = [
    '../_base_/models/centernet_r18_dcn.py',
    '../_base_/datasets/voc0712_512.py',
    '../_base_/schedules/adam_cosine_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    data_preprocessor=dict(
        # (0.40789654, 0.44719302, 0.47026115) and (0.28863828, 0.27408164, 0.27809835) x 255
        mean=[104.0136177, 114.0342201, 119.91659325],
        std=[73.6027614, 69.8908182, 70.91507925],
        bgr_to_rgb=False),
    backbone=dict(
        type='mmdet_centernet.CaffeResNet',
        depth=50,
        init_cfg=dict(checkpoint='pretrained://resnet50')),
    neck=dict(in_channels=2048, pre_conv=False, use_dcn=False),
    bbox_head=dict(
        num_classes=20,
        normalizer='objects',
        norm_cfg=dict(type='BN'),
        coder=dict(radius='official', min_overlap=0.7, shared_cells='last'),
        loss_center_heatmap=dict(min_probability=1e-6),
        # Divided by the objects alone there, not by objects times two channels.
        loss_wh=dict(loss_weight=0.2),
        loss_offset=dict(loss_weight=2.0)),
    # Recommended there with this backbone; nms=None turns it off.
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.3)))
# Test images are stretched to 512 x 512 with Pillow's bicubic filter, the default there.
test_pipeline = [
    dict(
        type='mmdet.Resize', scale=(512, 512), backend='pillow', interpolation='bicubic')
    if step['type'].endswith('CenterResize') else step for step in _base_.test_pipeline
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
custom_hooks = [
    dict(type='mmdet_centernet.FreezeHook', modules=('backbone', ), epochs=50),
]
