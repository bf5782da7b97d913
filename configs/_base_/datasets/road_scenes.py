# Road scenes in KITTI's layout, drawn by tools/dataset_converters/road_scenes.py.
dataset_type = 'mmdet_centernet.KittiMono3DDataset'
data_root = 'data/road_scenes/'
# Pictures are about 640 x 213 px, three times as wide as high: 0.6 times as large.
size = (384, 128)

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadBoxes3D'),
    # Mirrored only: the depth of what was scaled or shifted could not be learnt.
    dict(
        type='mmdet_centernet.CenterAffine3D',
        size=size, aug_prob=0.0, flip_prob=0.5, fit='width'),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet_centernet.PackMono3DInputs')
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet_centernet.CenterResize', size=size, fit='width'),
    # After the scaling, so that boxes stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadBoxes3D'),
    dict(type='mmdet_centernet.PackMono3DInputs')
]

# With num_workers=0, set persistent_workers=False.
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ImageSets/train.txt',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ImageSets/val.txt',
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet_centernet.KittiMetric',
    label_dir=data_root + 'training/label_2/',
    split_file=data_root + 'ImageSets/val.txt',
    recall_points=(40, ))
test_evaluator = val_evaluator
