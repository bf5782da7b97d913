# The original implementation's ctdet_coco_resdcn18. Published AP on COCO val2017: 28.1 (30.0 with
# flip, 33.2 with flip at five scales).
_base_ = [
    '../_base_/models/official_resdcn18.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adam_140e.py',
    '../_base_/default_runtime.py',
]

# Two GPUs x 57. The original script runs 114 images on four GPUs, 18 on the first and 32 on each
# other one, at the rate meant for 128. As there, images without objects count too, and boxes of
# crowds are objects.
train_dataloader = dict(batch_size=57, dataset=dict(filter_cfg=None, crowd_as_objects=True))
auto_scale_lr = dict(base_batch_size=114)
