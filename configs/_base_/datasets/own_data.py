# Your own boxes in COCO's format: data/mine/images/ and data/mine/{train,val}.json. Set `classes`
# and `data_root` of the data sets in a config of your own (docs/own_data.md).
# Training: the paper's random crop, scale and flip, to 320 x 320 px. Testing: the image is fitted
# into 320 x 320 px.
_base_ = '../default_data.py'

data_root = 'data/mine/'
input_size = (320, 320)

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.CenterAffine', crop_size=input_size),
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

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
        backend_args=_base_.backend_args))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='images/'),
        pipeline=test_pipeline,
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet.CocoMetric',
    ann_file=data_root + 'val.json',
    metric='bbox',
    backend_args=_base_.backend_args)
test_evaluator = val_evaluator
