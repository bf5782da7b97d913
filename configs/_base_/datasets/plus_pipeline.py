# Pipelines for small input, with large-scale jitter: the image is scaled so that its long side is
# a half to twice the input's, and a random part of the input's size is taken. The range is that of
# MMDetection's RTMDet-tiny; CenterNet-S4 takes 0.1 to 2. A config says where its images are.
_base_ = '../default_data.py'

input_size = (320, 320)

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='RandomResize', scale=input_size, ratio_range=(0.5, 2.0), keep_ratio=True,
        resize_type='mmdet.Resize'),
    # Parts without an object teach what is none.
    dict(type='mmdet.RandomCrop', crop_size=input_size, allow_negative_crop=True),
    dict(type='mmdet.Pad', size=input_size),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet_centernet.CenterResize', size=input_size),
    # After the resizing, so that the boxes stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
