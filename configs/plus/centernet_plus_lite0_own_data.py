# The base for your own data: few images, a short training, a CPU or one GPU. docs/own_data.md
# shows the few lines that a config of yours adds. On blood cells (BCCD, 296 steps) it reached
# 0.544 and 0.557 AP, and MMDetection's ATSS 0.520 and 0.519: docs/accuracy.md.
_base_ = [
    '../_base_/models/centernet_plus_lite0.py',
    '../_base_/datasets/own_data.py',
    '../_base_/schedules/plus.py',
    '../_base_/default_runtime.py',
]

# The stages of strides 2 and 4 keep their ImageNet weights, which saves time.
model = dict(backbone=dict(frozen_stages=2))
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
