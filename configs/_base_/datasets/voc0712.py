# Pascal VOC: trains on trainval 2007 + 2012, tests on test 2007; data/VOCdevkit/{VOC2007,VOC2012}.
# Evaluated with the VOC 2007 mAP (11 points) and with COCO's, from the same predictions.
# 384 x 384 in training and (`fix_res`) in testing, as in the paper's VOC experiments.
_base_ = '../default_data.py'

data_root = 'data/VOCdevkit/'
input_size = (384, 384)

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
    # CocoMetric converts the `instances` to COCO's format.
    dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys + ('instances', ))
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        # The years differ in this entry of their metainfo.
        ignore_keys=['dataset_type'],
        datasets=[
            dict(
                type='mmdet_centernet.VOCDataset',
                data_root=data_root,
                ann_file=year + '/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root=year + '/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=train_pipeline,
                backend_args=_base_.backend_args)
            for year in ('VOC2007', 'VOC2012')
        ]))
val_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.VOCDataset',
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        pipeline=test_pipeline,
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='mmdet.VOCMetric', metric='mAP', eval_mode='11points'),
    dict(type='mmdet.CocoMetric', metric='bbox')
]
test_evaluator = val_evaluator
