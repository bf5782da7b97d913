# Scope, hooks and logging of every config.
default_scope = 'mmdet'
custom_imports = dict(imports=['mmdet_centernet'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='mmengine.IterTimerHook'),
    logger=dict(type='mmengine.LoggerHook', interval=50),
    param_scheduler=dict(type='mmengine.ParamSchedulerHook'),
    checkpoint=dict(type='mmengine.CheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='mmengine.DistSamplerSeedHook'),
    visualization=dict(type='mmdet.DetVisualizationHook'))
custom_hooks = [
    dict(type='mmdet_centernet.CheckNumClassesHook'),
    dict(type='mmdet_centernet.CheckLossHook'),
    dict(type='mmdet_centernet.CheckCheckpointHook'),
    dict(type='mmdet_centernet.ProgressLineHook'),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='mmengine.LocalVisBackend')]
visualizer = dict(
    type='mmdet.DetLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='mmengine.LogProcessor', window_size=50, by_epoch=True)

log_level = 'INFO'
load_from = None
resume = False
