# Pascal VOC: trains on trainval 2007 + 2012, tests on test 2007; data/VOCdevkit/{VOC2007,VOC2012}.
# Evaluated with the VOC 2007 mAP (11 points) and with COCO's, from the same predictions.
# 384 x 384 in training and (`fix_res`) in testing, as in the paper's VOC experiments.
dataset_type = 'mmdet_centernet.VOCDataset'
data_root = 'data/VOCdevkit/'
backend_args = None
input_size = (384, 384)
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'homography_matrix')

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.CenterAffine', crop_size=input_size),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=backend_args),
    dict(type='mmdet_centernet.CenterResize', size=input_size),
    # After the resizing, so that the boxes stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    # CocoMetric converts the `instances` to COCO's format.
    dict(type='mmdet.PackDetInputs', meta_keys=meta_keys + ('instances', ))
]

# With num_workers=0, set persistent_workers=False.
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        # The years differ in this entry of their metainfo.
        ignore_keys=['dataset_type'],
        datasets=[
            dict(
                type=dataset_type,
                data_root=data_root,
                ann_file='VOC2007/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root='VOC2007/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=train_pipeline,
                backend_args=backend_args),
            dict(
                type=dataset_type,
                data_root=data_root,
                ann_file='VOC2012/ImageSets/Main/trainval.txt',
                data_prefix=dict(sub_data_root='VOC2012/'),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                pipeline=train_pipeline,
                backend_args=backend_args)
        ]))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='VOC2007/ImageSets/Main/test.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        test_mode=True,
        pipeline=test_pipeline,
        backend_args=backend_args))
test_dataloader = val_dataloader

val_evaluator = [
    dict(type='mmdet.VOCMetric', metric='mAP', eval_mode='11points'),
    dict(type='mmdet.CocoMetric', metric='bbox')
]
test_evaluator = val_evaluator
