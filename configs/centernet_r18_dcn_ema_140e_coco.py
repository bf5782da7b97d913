# As centernet_r18_dcn_140e_coco.py with averaged weights: the average over about 5000 steps is
# tested and saved. Mixed precision: `tools/train.py CONFIG --amp`.
_base_ = [
    './_base_/models/centernet_r18_dcn.py',
    './_base_/datasets/coco_detection_crop512.py',
    './_base_/schedules/sgd_140e.py',
    './_base_/default_runtime.py',
]

custom_hooks = [
    dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, gamma=2000,
         update_buffers=True),
]
