# As official_dla34.py for Pascal VOC; statistics as in official_pascal_resdcn18.py.
_base_ = './centernet_dla34.py'

model = dict(
    data_preprocessor=dict(bgr_to_rgb=False),
    neck=dict(conv_bias=True),
    bbox_head=dict(
        num_classes=20,
        normalizer='objects',
        coder=dict(radius='official', min_overlap=0.7, shared_cells='all'),
        loss_center_heatmap=dict(min_probability=1e-4)))
