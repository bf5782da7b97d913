# As official_resdcn18.py for Pascal VOC. There the original implementation applies ImageNet's
# statistics, which are in RGB order, to BGR images; its published weights expect just that.
_base_ = './centernet_r18_dcn.py'

model = dict(
    data_preprocessor=dict(bgr_to_rgb=False),
    neck=dict(conv_bias=True),
    bbox_head=dict(
        num_classes=20,
        normalizer='objects',
        coder=dict(radius='official', min_overlap=0.7, shared_cells='all'),
        loss_center_heatmap=dict(min_probability=1e-4)))
