# KITTI's object data with 3D boxes; data/kitti/{training,testing} as they are unpacked, and the
# 3DOP split's image numbers in data/kitti/ImageSets_3dop/{train,val}.txt (docs/kitti.md).
# Training as in the original implementation: scaled and shifted at random with probability 0.5,
# no color jitter and no flip, images without objects too. To flip images:
# CenterAffine3D(flip_prob=0.5).
_base_ = '../default_data.py'

data_root = 'data/kitti/'
# Images of KITTI are about 1242 x 375 px. They are scaled to this width; a few rows are cut off
# at the top and at the bottom.
input_size = (1280, 384)

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadBoxes3D'),
    dict(
        type='mmdet_centernet.CenterAffine3D', size=input_size, aug_prob=0.5, fit='width'),
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
    dataset=dict(
        type='mmdet_centernet.KittiMono3DDataset',
        data_root=data_root,
        ann_file='ImageSets_3dop/train.txt',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type='mmdet_centernet.KittiMono3DDataset',
        data_root=data_root,
        ann_file='ImageSets_3dop/val.txt',
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmdet_centernet.KittiMetric',
    label_dir=data_root + 'training/label_2/',
    split_file=data_root + 'ImageSets_3dop/val.txt')
test_evaluator = val_evaluator
