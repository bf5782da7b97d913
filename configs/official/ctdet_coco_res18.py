# The original implementation's ctdet_coco_res18: three deconvolutions of 256 channels, no DCNv2.
# No AP has been published for it.
_base_ = [
    '../_base_/models/official_resdcn18.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adam_140e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    neck=dict(
        num_deconv_filters=(256, 256, 256), use_dcn=False, pre_conv=False, conv_bias=False),
    bbox_head=dict(in_channels=256))

# One GPU x 32. The original script says when the rate drops (45, 60) but not how long to train,
# which leaves 140 epochs, the last 80 of them at a hundredth of the rate. The 70 epochs that these
# steps have in all its other scripts are meant. As there, images without objects count too, and
# boxes of crowds are objects.
train_dataloader = dict(batch_size=32, dataset=dict(filter_cfg=None, crowd_as_objects=True))
train_cfg = dict(max_epochs=70)
optim_wrapper = dict(optimizer=dict(lr=1.25e-4))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=70, by_epoch=True, milestones=[45, 60], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=32)
