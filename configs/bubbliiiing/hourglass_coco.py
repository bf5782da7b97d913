# The Hourglass-104 of bubbliiiing's centernet-pytorch on COCO, 512 x 512; the network is the
# original implementation's. Published there: 38.4 box AP on COCO val2017. resnet50_voc.py says
# what is that repository's and what is not.
_base_ = [
    '../_base_/models/centernet_hg104.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adam_cosine_100e.py',
    '../_base_/default_runtime.py',
]

# The losses of the stacks are added up there; NMS is not recommended with this backbone.
model = dict(
    bbox_head=dict(
        coder=dict(radius='official', min_overlap=0.7, shared_cells='last'),
        loss_center_heatmap=dict(loss_weight=1.0, min_probability=1e-6),
        loss_wh=dict(loss_weight=0.2),
        loss_offset=dict(loss_weight=2.0)))
# Test images are stretched to 512 x 512 with Pillow's bicubic filter, the default there.
test_pipeline = [
    dict(
        type='mmdet.Resize', scale=(512, 512), backend='pillow', interpolation='bicubic')
    if step['type'].endswith('CenterPad') else step for step in _base_.test_pipeline
]
tta_pipeline = [
    *test_pipeline[:-1], dict(type='TestTimeAug', transforms=[test_pipeline[-1:]])]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
custom_hooks = [
    dict(
        type='mmdet_centernet.FreezeHook',
        modules=('backbone.stem', 'backbone.hourglass_modules'),
        epochs=50),
]
