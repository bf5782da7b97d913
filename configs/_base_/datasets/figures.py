# Synthetic figures with seven keypoints, drawn by tools/demo_data/figures.py. Names, links and
# pairs of left and right come from the annotation file.
_base_ = '../default_data.py'

data_root = 'data/figures/'
# Tolerances: of head and neck those that CrowdPose has for them, of hip, hands and feet COCO's of
# hips, wrists and ankles.
metainfo = dict(
    classes=('figure', ), palette=[(220, 20, 60)],
    sigmas=[0.079, 0.079, 0.107, 0.062, 0.062, 0.089, 0.089])

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadKeypoints'),
    # Pictures are 320 x 240 px. At a scale of 0.8 a crop has half their resolution, as in
    # testing.
    dict(
        type='mmdet_centernet.CenterAffine',
        crop_size=(128, 128),
        scales=(0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet_centernet.PackPoseInputs', meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet_centernet.CenterResize', size=(160, 128)),
    # After the scaling, so that boxes and keypoints stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadKeypoints'),
    dict(type='mmdet_centernet.PackPoseInputs', meta_keys=_base_.meta_keys)
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(
    batch_size=12,
    num_workers=1,
    dataset=dict(
        type='mmdet_centernet.CocoPoseDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
        backend_args=_base_.backend_args))
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        type='mmdet_centernet.CocoPoseDataset',
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet_centernet.CocoKeypointMetric',
    ann_file=data_root + 'annotations/val.json',
    metric=['keypoints', 'bbox'])
test_evaluator = val_evaluator
