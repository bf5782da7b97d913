# An example for data of your own: boxes whose objects have named attributes (docs/attributes.md).
# Images in data/fruit/{train,val}/, boxes in COCO's format in data/fruit/annotations/. Annotations
# may have a dictionary "attributes", as CVAT writes it:
#   {"ripeness": "ripe", "defects": ["hole"], "weight": 142.5}
# Recipe of centernet_lite0_tree_crowns.py, which learns from few images on a CPU.
_base_ = [
    './_base_/models/centernet_lite0_dlaup.py',
    './_base_/default_data.py',
    './_base_/schedules/adamw_tree_crowns.py',
    './_base_/default_runtime.py',
]

data_root = 'data/fruit/'
metainfo = dict(
    classes=('apple', 'pear'),
    attributes=dict(
        # One of these values.
        ripeness=dict(kind='class', values=['green', 'ripe', 'rotten']),
        # Any of these labels, also none.
        defects=dict(kind='multi_label', values=['bruise', 'hole']),
        # A number in a unit of your choice.
        weight=dict(kind='number')))

model = dict(
    backbone=dict(frozen_stages=2),
    bbox_head=dict(
        num_classes=2,
        loss_wh=dict(loss_weight=0.2),
        properties=[
            dict(type='mmdet_centernet.Attribute', name='ripeness', kind='class', num_classes=3),
            dict(type='mmdet_centernet.Attribute', name='defects', kind='multi_label',
                 num_classes=2),
            # The network predicts (weight - mean) / std: take those of your numbers.
            dict(type='mmdet_centernet.Attribute', name='weight', kind='number', mean=150.0,
                 std=30.0),
        ]))

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadAttributes'),
    # Flips left and right: set flip_prob=0 if an attribute tells them apart.
    dict(type='mmdet_centernet.CenterAffine', crop_size=(512, 512)),
    # Changes brightness, contrast and saturation: leave it out if an attribute is about these.
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet_centernet.PackInputs', meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet_centernet.CenterPad', pad_mask=31),
    # After the padding, so that the boxes that are drawn stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadAttributes'),
    dict(type='mmdet_centernet.PackInputs', meta_keys=_base_.meta_keys)
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=8,
        dataset=dict(
            type='mmdet_centernet.CocoDataset',
            data_root=data_root,
            metainfo=metainfo,
            ann_file='annotations/train.json',
            data_prefix=dict(img='train/'),
            pipeline=train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.CocoDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='mmdet.CocoMetric', ann_file=data_root + 'annotations/val.json', metric='bbox'),
    dict(type='mmdet_centernet.AttributeMetric'),
]
test_evaluator = val_evaluator
visualizer = dict(type='mmdet_centernet.CenterNetLocalVisualizer')
