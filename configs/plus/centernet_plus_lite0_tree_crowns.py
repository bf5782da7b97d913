# Tree crowns in aerial photos as in centernet_lite0_tree_crowns.py, the demo, but with the network
# and the losses of centernet_plus_lite0.py. Not trained here but for its variant with 3 x 3 cells:
# AP50 0.447, where the demo reached 0.479, one training each (docs/accuracy.md).
_base_ = [
    '../_base_/models/centernet_plus_lite0.py',
    '../_base_/datasets/tree_crowns.py',
    '../_base_/schedules/adamw_tree_crowns.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(frozen_stages=2), bbox_head=dict(num_classes=1))
# The average of the weights over about 250 steps is tested: a network soon learns 42 tiles of one
# photo by heart.
custom_hooks = [
    dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=100,
         update_buffers=True),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
