# As plus_pipeline.py, with mosaic (four images in one of twice the size) and mixup (the mean of
# two), as MMDetection's RTMDet-tiny. Both take the other images from those that the worker has
# read before. A config that uses it ends them before the last epochs by
# mmdet_centernet.PipelineSwitchHook and `last_pipeline`, see docs/training.md.
_base_ = '../default_data.py'

input_size = (320, 320)

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='mmdet.CachedMosaic', img_scale=input_size, pad_val=0, max_cached_images=20,
        random_pop=False),
    # A mosaic has two images side by side: at a ratio of 1 each is as large as the input.
    dict(
        type='RandomResize', scale=(640, 640), ratio_range=(0.5, 2.0), keep_ratio=True,
        resize_type='mmdet.Resize'),
    dict(type='mmdet.RandomCrop', crop_size=input_size, allow_negative_crop=True),
    dict(type='mmdet.Pad', size=input_size),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(
        type='mmdet.CachedMixUp', img_scale=input_size, ratio_range=(1.0, 1.0), pad_val=0,
        max_cached_images=10, random_pop=False, prob=0.5),
    # Last, because mixup makes whole numbers of the colors.
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]
last_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='RandomResize', scale=input_size, ratio_range=(0.5, 2.0), keep_ratio=True,
        resize_type='mmdet.Resize'),
    dict(type='mmdet.RandomCrop', crop_size=input_size, allow_negative_crop=True),
    dict(type='mmdet.Pad', size=input_size),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet_centernet.CenterResize', size=input_size),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
