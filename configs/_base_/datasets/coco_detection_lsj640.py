# COCO 2017 detection with CenterNet-S4's augmentation: the image is scaled to fit a square of 0.1
# to 2 times 640 px, and a random part of at most 640 x 640 px is taken. Tested on images that are
# fitted into 640 x 640 px, one size that can be exported; CenterNet-S4 tests with a short side of
# 608 px and a long side of at most 900 px.
_base_ = '../default_data.py'

data_root = 'data/coco/'
train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='RandomResize', scale=(640, 640), ratio_range=(0.1, 2.0), keep_ratio=True,
        resize_type='mmdet.Resize'),
    dict(type='mmdet.RandomCrop', crop_size=(640, 640), allow_negative_crop=True),
    dict(type='mmdet.RandomFlip', prob=0.5),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet_centernet.CenterResize', size=(640, 640)),
    # After the resizing, so that the boxes stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
        backend_args=_base_.backend_args))
val_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        pipeline=test_pipeline,
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet.CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    backend_args=_base_.backend_args)
test_evaluator = val_evaluator
