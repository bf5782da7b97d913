# 3D boxes of one camera with DLA-34, fed, trained and tested as in the paper's own code.
_base_ = ['./official_dla34.py', './mono3d_head.py']

model = dict(
    # ImageNet's statistics, of RGB, on BGR images.
    # (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225) x 255
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=False),
    bbox_head=dict(
        _delete_=True, in_channels=64, feat_channels=256, **_base_.mono3d_head),
    test_cfg=dict(score_thr=0.2, shift_sizes=True))
