# The original implementation's ctdet_coco_resdcn101. Published AP on COCO val2017: 34.6 (36.2 with
# flip, 39.3 with flip at five scales). The test commands of its script leave out the architecture
# and would test a DLA-34.
_base_ = [
    '../_base_/models/official_resdcn18.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adam_140e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='pretrained://resnet101')),
    neck=dict(in_channels=2048))

# Eight GPUs x 12; the original implementation has 5 images on the first GPU and 13 on each other
# one. As there, images without objects count too, and boxes of crowds are objects.
train_dataloader = dict(batch_size=12, dataset=dict(filter_cfg=None, crowd_as_objects=True))
optim_wrapper = dict(optimizer=dict(lr=3.75e-4))
auto_scale_lr = dict(base_batch_size=96)
