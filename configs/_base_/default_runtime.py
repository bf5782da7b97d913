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
    dict(type='mmdet_centernet.SkeletonHook'),
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

# What `tools/test.py --tta {flip,ms}` tests with: `flip` sees each image and its mirror image,
# `ms` does so at all scales and merges their detections, class by class, by Gaussian soft-NMS.
tta_model = dict(
    type='mmdet_centernet.CenterNetTTAModel',
    scales=(0.5, 0.75, 1.0, 1.25, 1.5),
    flip=True,
    nms=dict(
        type='soft_nms', iou_threshold=0.5, sigma=0.5, min_score=0.001, method='gaussian',
        offset=1))

log_level = 'INFO'
load_from = None
resume = False
