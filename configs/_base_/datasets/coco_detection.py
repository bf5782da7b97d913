# COCO 2017 detection; data/coco/{annotations,train2017,val2017} may be links.
# Training as in the paper (Sec. 5): random crop, scale and flip to 512 x 512, colour jitter.
# Testing at the image's own resolution (`keep_res`); for a fixed size replace CenterPad with
# dict(type='mmdet_centernet.CenterResize', size=(512, 512)).
dataset_type = 'mmdet_centernet.CocoDataset'
data_root = 'data/coco/'
backend_args = None
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'homography_matrix')

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.CenterAffine', crop_size=(512, 512)),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=backend_args),
    dict(type='mmdet_centernet.CenterPad', pad_mask=31),
    # After the padding, so that the boxes stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
]

# With num_workers=0, set persistent_workers=False.
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
        backend_args=backend_args))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet.CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    backend_args=backend_args)
test_evaluator = val_evaluator
