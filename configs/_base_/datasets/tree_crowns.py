# Tree crowns in aerial photos, one class; made by tools/demo_data/tree_crowns.py.
# Tests on the validation photo. The harder test (two photos of other forests):
#   tools/test.py CONFIG CHECKPOINT --cfg-options \
#     test_dataloader.dataset.ann_file=annotations/test.json \
#     test_dataloader.dataset.data_prefix.img=test/ \
#     test_evaluator.ann_file=data/tree_crowns/annotations/test.json
_base_ = '../default_data.py'

data_root = 'data/tree_crowns/'
metainfo = dict(classes=('tree', ), palette=[(220, 20, 60)])

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    # At a scale of 0.625 a crop has the resolution of the tile (512 px), which testing keeps.
    dict(
        type='mmdet_centernet.CenterAffine',
        crop_size=(320, 320),
        scales=(0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)),
    # Aerial photos have no up and down.
    dict(type='mmdet.RandomFlip', prob=0.5, direction='vertical'),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys)
]

train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        # 42 tiles are ten batches: too few for an epoch that ends in a checkpoint.
        times=8,
        dataset=dict(
            type='mmdet_centernet.CocoDataset',
            data_root=data_root,
            metainfo=metainfo,
            ann_file='annotations/train.json',
            data_prefix=dict(img='train/'),
            pipeline=train_pipeline,
            backend_args=_base_.backend_args)))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet.CocoMetric',
    ann_file=data_root + 'annotations/val.json',
    metric='bbox',
    backend_args=_base_.backend_args)
test_evaluator = val_evaluator
