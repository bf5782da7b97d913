# What the detectors of this folder have in common, so that a comparison shows the difference of
# neck and head: EfficientNet-Lite0 with ImageNet weights and its first two stages frozen, input of
# 320 x 320 px, augmentation, AdamW with warm-up and cosine, and averaged weights. The recipe is
# that of configs/centernet_lite0_tree_crowns.py with batches of 8.
# tools/analysis_tools/compare_recipes.py sets the data, the classes and the length of training.
_base_ = '../../../configs/_base_/default_runtime.py'

input_size = (320, 320)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')

model = dict(
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32),
    backbone=dict(
        type='mmdet_centernet.EfficientNetLite',
        variant='lite0',
        out_strides=(8, 16, 32),
        frozen_stages=2,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained://efficientnet_lite0')))

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.CenterAffine', crop_size=input_size),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
]
# MMDetection's heads map boxes back by the `scale_factor`, so its own transforms are used.
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.Resize', scale=input_size, keep_ratio=True),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=10)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=60),
    dict(type='CosineAnnealingLR', T_max=10, by_epoch=True, begin=0, end=10),
]
custom_hooks = [
    dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=100,
         update_buffers=True),
]
