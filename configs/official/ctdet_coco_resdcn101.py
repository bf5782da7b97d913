# The original's ctdet_coco_resdcn101. Published AP on COCO val2017: 34.6 (36.2 with flip, 39.3
# with flip at five scales). The test commands of its script forget the architecture and would
# test a DLA-34.
_base_ = './ctdet_coco_resdcn18.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='pretrained://resnet101')),
    neck=dict(in_channels=2048))

# Eight GPUs x 12; the original has 5 images on the first GPU and 13 on each other one.
train_dataloader = dict(batch_size=12)
optim_wrapper = dict(optimizer=dict(lr=3.75e-4))
auto_scale_lr = dict(base_batch_size=96)
