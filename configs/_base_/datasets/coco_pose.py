# COCO 2017 people and their joints, as coco_detection.py: images without anybody are left out,
# whom the file has as a crowd counts as a person. Rotation, which the original leaves at 0:
# CenterAffine(rotate_prob=..., rotate=...).
_base_ = './coco_detection.py'

dataset_type = 'mmdet_centernet.CocoPoseDataset'
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
    dict(type='mmdet_centernet.CenterPad', pad_mask=31),
    # After the padding, so that boxes and joints stay in pixels of the original image.
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadKeypoints'),
    dict(type='mmdet_centernet.PackPoseInputs', meta_keys=_base_.meta_keys)
]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/person_keypoints_train2017.json',
        filter_cfg=dict(_delete_=True, filter_empty_gt=True),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/person_keypoints_val2017.json',
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet_centernet.CocoKeypointMetric',
    ann_file=_base_.data_root + 'annotations/person_keypoints_val2017.json',
    metric=['keypoints', 'bbox'])
test_evaluator = val_evaluator
