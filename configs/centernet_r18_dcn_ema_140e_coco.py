# As centernet_r18_dcn_140e_coco.py with averaged weights: what is tested and saved is the
# average over some 5000 steps. Mixed precision: `tools/train.py CONFIG --amp`.
_base_ = './centernet_r18_dcn_140e_coco.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, gamma=2000,
         update_buffers=True),
]
