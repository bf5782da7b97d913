# As official_resdcn18.py for Pascal VOC. The original takes ImageNet's statistics there, in RGB
# order, for images that stay BGR; its published weights expect just that.
_base_ = './official_resdcn18.py'

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    bbox_head=dict(num_classes=20))
