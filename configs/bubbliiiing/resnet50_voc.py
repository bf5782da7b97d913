# The ResNet-50 of bubbliiiing's centernet-pytorch on Pascal VOC 2007 + 2012, 512 x 512: plain
# deconvolutions, batch normalisation in the heads, images and their statistics (BGR, COCO) as
# there. Published there: 77.1 mAP on VOC 2007 test.
#
# Shapes, schedule, loss and testing are that repository's; the random crops are ours. Testing
# stretches the image, the default there; docs/recipes.md has its letterbox. Only its drawing, not
# its evaluation, asks for a score of 0.3: model.test_cfg.score_thr.
_base_ = [
    '../_base_/models/official_resdcn18.py',
    '../_base_/datasets/voc0712_stretch512.py',
    '../_base_/schedules/adam_cosine_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        type='mmdet_centernet.CaffeResNet',
        depth=50,
        init_cfg=dict(checkpoint='pretrained://resnet50')),
    neck=dict(
        _delete_=True,
        type='mmdet_centernet.CTResNetNeck',
        in_channels=2048,
        num_deconv_filters=(256, 128, 64),
        num_deconv_kernels=(4, 4, 4),
        pre_conv=False,
        use_dcn=False),
    bbox_head=dict(
        num_classes=20,
        norm_cfg=dict(type='BN'),
        coder=dict(shared_cells='last'),
        loss_center_heatmap=dict(min_probability=1e-6),
        # Divided by the objects alone there, not by objects times two channels.
        loss_wh=dict(loss_weight=0.2),
        loss_offset=dict(loss_weight=2.0)),
    # Recommended there with this backbone; nms=None turns it off.
    test_cfg=dict(nms=dict(type='nms', iou_threshold=0.3)))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mmdet_centernet.FreezeHook', modules=('backbone', ), epochs=50),
]
