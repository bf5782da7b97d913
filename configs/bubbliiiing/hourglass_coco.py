# The Hourglass-104 of bubbliiiing's centernet-pytorch on COCO, 512 x 512; the network is the
# original's. Published there: 38.4 box AP on COCO val2017. What is that repository's and what is
# not: see resnet50_voc.py.
_base_ = [
    '../_base_/models/official_hg104.py',
    '../_base_/datasets/coco_detection_stretch512.py',
    '../_base_/schedules/adam_cosine_100e.py',
    '../_base_/default_runtime.py',
]

# The losses of the stacks are added up there; NMS is not recommended with this backbone.
model = dict(
    bbox_head=dict(
        coder=dict(shared_cells='last'),
        loss_center_heatmap=dict(loss_weight=1.0, min_probability=1e-6),
        loss_wh=dict(loss_weight=0.2),
        loss_offset=dict(loss_weight=2.0)))
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='mmdet_centernet.FreezeHook',
        modules=('backbone.stem', 'backbone.hourglass_modules'),
        epochs=50),
]
