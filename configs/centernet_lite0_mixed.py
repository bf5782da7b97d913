# An example for your own data: people and dogs with keypoints of their own, cars as plain boxes
# (docs/pose.md). Images in data/street/{train,val}/, annotations in COCO's format in
# data/street/annotations/: the categories of people and dogs list the names of their keypoints
# ("keypoints") and links between them ("skeleton"). Annotations may lack "keypoints": of those
# only the box is learned. Recipe of centernet_lite0_tree_crowns.py, which learns from few images
# on a CPU.
_base_ = [
    './_base_/models/centernet_lite0_dlaup.py',
    './_base_/datasets/coco_pose.py',
    './_base_/schedules/adamw_tree_crowns.py',
    './_base_/pose_runtime.py',
]

data_root = 'data/street/'
classes = ('person', 'dog', 'car')  # in the order of the file's categories
# What the file does not say of a skeleton can be said here: sigmas of the OKS, colors, and which
# keypoints trade places in a flipped image (the words "left" and "right" in their names say it).
metainfo = dict(
    classes=classes,
    skeletons=dict(dog=dict(sigmas=[0.03, 0.05, 0.06, 0.06, 0.08])))

model = dict(
    backbone=dict(frozen_stages=2),
    bbox_head=dict(
        _delete_=True,
        type='mmdet_centernet.CenterHead',
        num_classes=len(classes),
        in_channels=32,
        feat_channels=64,
        properties=[
            # Every object has a box, and trains it.
            dict(
                type='mmdet_centernet.Box',
                loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.2)),
            # Trained around the centers, not only there, displacements are learned much sooner.
            dict(
                type='mmdet_centernet.Keypoints',
                classes=['person'],
                num_keypoints=17,
                dense_displacement=True),
            # The name is that of the branches: dog_displacement, dog_heatmap, dog_offset.
            dict(
                type='mmdet_centernet.Keypoints',
                name='dog',
                classes=['dog'],
                num_keypoints=5,
                dense_displacement=True),
        ]))

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=8,
        dataset=dict(
            type='mmdet_centernet.CocoPoseDataset',
            data_root=data_root,
            metainfo=metainfo,
            ann_file='annotations/train.json',
            data_prefix=dict(img='train/'),
            pipeline=_base_.train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/')))
test_dataloader = val_dataloader

# OKS AP of people and dogs, and AP of the boxes of all three classes.
val_evaluator = [
    dict(
        type='mmdet_centernet.CocoKeypointMetric',
        ann_file=data_root + 'annotations/val.json',
        classwise=True),
    dict(
        type='mmdet.CocoMetric',
        ann_file=data_root + 'annotations/val.json',
        metric='bbox',
        classwise=True),
]
test_evaluator = val_evaluator

auto_scale_lr = dict(enable=True)  # the rate is meant for batches of 4
