# Road scenes in KITTI's layout, drawn by tools/demo_data/road_scenes.py.
_base_ = '../default_data.py'

data_root = 'data/road_scenes/'
# Pictures are about 640 x 213 px, three times as wide as high: 0.6 times as large.
input_size = (384, 128)

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadBoxes3D'),
    # Flipped only: the depth of what was scaled or shifted could not be learned.
    dict(
        type='mmdet_centernet.CenterAffine3D',
        size=input_size, aug_prob=0.0, flip_prob=0.5, fit='width'),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet_centernet.PackMono3DInputs')
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet_centernet.CenterResize', size=input_size, fit='width'),
    # After the scaling, so that the 2D boxes stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadBoxes3D'),
    dict(type='mmdet_centernet.PackMono3DInputs')
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        type='mmdet_centernet.KittiMono3DDataset',
        data_root=data_root,
        ann_file='ImageSets/train.txt',
        pipeline=train_pipeline))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type='mmdet_centernet.KittiMono3DDataset',
        data_root=data_root,
        ann_file='ImageSets/val.txt',
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet_centernet.KittiMetric',
    label_dir=data_root + 'training/label_2/',
    split_file=data_root + 'ImageSets/val.txt',
    recall_points=(40, ))
test_evaluator = val_evaluator
