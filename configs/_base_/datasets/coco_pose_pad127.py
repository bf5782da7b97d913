# COCO 2017 people and their keypoints, as coco_pose.py, tested at sizes that an Hourglass takes:
# multiples of 128.
_base_ = '../default_data.py'

data_root = 'data/coco/'
train_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadKeypoints'),
    dict(type='mmdet_centernet.CenterAffine', crop_size=(512, 512)),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet_centernet.PackPoseInputs', meta_keys=_base_.meta_keys)
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage', backend_args=_base_.backend_args),
    dict(type='mmdet_centernet.CenterPad', pad_mask=127),
    # After the padding, so that boxes and keypoints stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadKeypoints'),
    dict(type='mmdet_centernet.PackPoseInputs', meta_keys=_base_.meta_keys)
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]

train_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.CocoPoseDataset',
        data_root=data_root,
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
        backend_args=_base_.backend_args))
val_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.CocoPoseDataset',
        data_root=data_root,
        ann_file='annotations/person_keypoints_val2017.json',
        data_prefix=dict(img='val2017/'),
        pipeline=test_pipeline,
        backend_args=_base_.backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet_centernet.CocoKeypointMetric',
    ann_file=data_root + 'annotations/person_keypoints_val2017.json',
    metric=['keypoints', 'bbox'],
    backend_args=_base_.backend_args)
test_evaluator = val_evaluator
