# 3D boxes of one camera with DLA-34 (Objects as Points, Sec. 4.1), on KITTI.
# The loss is the original implementation's.
_base_ = './centernet_dla34.py'

model = dict(
    bbox_head=dict(
        type='mmdet_centernet.CenterNetMono3DHead',
        num_classes=3,
        normalizer='slots',
        max_objects=50,
        coder=dict(
            radius='official', min_overlap=0.7, shared_cells='all', round_up=False,
            ignore='center'),
        loss_center_heatmap=dict(min_probability=1e-4),
        loss_depth=dict(type='mmdet.L1Loss', loss_weight=1.0),
        loss_dims=dict(type='mmdet.L1Loss', loss_weight=1.0),
        loss_orientation=dict(type='mmdet_centernet.MultiBinLoss', loss_weight=1.0)))
