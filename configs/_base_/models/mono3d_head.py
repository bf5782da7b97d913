# The head for 3D boxes on KITTI with the loss of the paper's own code, for the models beside this
# file, which say how wide it is.
mono3d_head = dict(
    type='mmdet_centernet.CenterNetMono3DHead',
    num_classes=3,
    coder=dict(
        type='mmdet_centernet.CenterCoder',
        stride=4,
        radius='official',
        min_overlap=0.7,
        shared_cells='all',
        round_up=False,
        ignore='center'),
    loss_center_heatmap=dict(
        type='mmdet_centernet.GaussianFocalLoss', loss_weight=1.0, min_probability=1e-4),
    loss_depth=dict(type='mmdet.L1Loss', loss_weight=1.0),
    loss_dims=dict(type='mmdet.L1Loss', loss_weight=1.0),
    loss_orientation=dict(type='mmdet_centernet.MultiBinLoss', loss_weight=1.0),
    loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.1),
    loss_offset=dict(type='mmdet.L1Loss', loss_weight=1.0),
    normalizer='slots',
    max_objects=50)
