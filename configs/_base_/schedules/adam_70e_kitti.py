# The original implementation's schedule for KITTI: as adam_70e.py, Adam at 1.25e-4, for 16 images
# a step.
_base_ = './adam_70e.py'

auto_scale_lr = dict(base_batch_size=16)
