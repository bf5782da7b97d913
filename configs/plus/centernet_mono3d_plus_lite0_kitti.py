# Monocular 3D boxes on KITTI with EfficientNet-Lite0 and a pyramid neck of plain convolutions, for
# CPUs and phones; recipe of centernet_mono3d_plus_dla34_kitti.py, which says where it comes from.
# Not trained here, and no reference AP: nobody has published this combination.
_base_ = [
    '../_base_/models/centernet_mono3d_lite0_dlaup.py',
    '../_base_/datasets/kitti_3dop.py',
    '../_base_/schedules/adam_140e_kitti.py',
    '../_base_/mono3d_runtime.py',
]

model = dict(
    bbox_head=dict(
        normalizer='objects',
        coder=dict(peak='center_3d'),
        with_location_offset=True,
        depth_uncertainty=True,
        orientation_bins=12,
        aux_corners=True,
        loss_wh=dict(loss_weight=1.0),
        loss_depth=dict(type='mmdet_centernet.LaplaceLoss'),
        loss_dims=dict(type='mmdet_centernet.DimensionAwareL1Loss'),
        loss_orientation=dict(type='mmdet_centernet.AngleBinLoss')))

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadBoxes3D'),
    dict(type='mmdet_centernet.FilterBoxes3D', max_depth=65),
    dict(
        type='mmdet_centernet.CenterAffine3D',
        size=_base_.input_size, aug_prob=0.5, flip_prob=0.5, fit='width'),
    dict(type='mmdet_centernet.PackMono3DInputs')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
