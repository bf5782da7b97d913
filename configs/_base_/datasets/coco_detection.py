# COCO 2017 detection; data/coco/{annotations,train2017,val2017} may be links.
_base_ = '../default_data.py'

data_root = 'data/coco/'
train_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        backend_args=_base_.backend_args))
val_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet.CocoMetric',
    ann_file=data_root + 'annotations/instances_val2017.json',
    metric='bbox',
    backend_args=_base_.backend_args)
test_evaluator = val_evaluator
