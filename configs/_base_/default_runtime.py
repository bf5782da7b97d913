# Scope, hooks, logging and test-time augmentation of every config.
default_scope = 'mmdet'
custom_imports = dict(imports=['mmdet_centernet'], allow_failed_imports=False)

# The hooks that check a run and show its progress (mmdet_centernet/engine/hooks) are not listed
# here: tools/train.py and tools/test.py add them to every config, yours too.
default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval=50),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(type='mmengine.CheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
    visualization=dict(type='mmdet.DetVisualizationHook'))

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='mmengine.LocalVisBackend')]
visualizer = dict(
    type='mmdet.DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='mmengine.LogProcessor', window_size=50, by_epoch=True)

# `--tta` tests with this model and the data's `tta_pipeline`. The outputs for an image and its
# flip are averaged; detections at several scales are merged by `nms`, by default the paper's
# soft-NMS.
tta_model = dict(type='mmdet_centernet.CenterNetTTAModel')

log_level = 'INFO'
load_from = None
resume = False
