"""The package's registries: scope ``mmdet_centernet``, children of the MMEngine root.

They are siblings of MMDetection's registries, not their children: a child of mmdet's node
cannot be found under a third package's default scope, or without a default scope. Every config
writes this package's types with their scope (``type='mmdet_centernet.CenterNetHead'``).
"""
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import TASK_UTILS as ROOT_TASK_UTILS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import VISUALIZERS as ROOT_VISUALIZERS
from mmengine.registry import Registry

SCOPE = 'mmdet_centernet'

MODELS = Registry(
    'model', parent=ROOT_MODELS, scope=SCOPE, locations=['mmdet_centernet.models'])
TASK_UTILS = Registry(
    'task util', parent=ROOT_TASK_UTILS, scope=SCOPE, locations=['mmdet_centernet.models'])
TRANSFORMS = Registry(
    'transform', parent=ROOT_TRANSFORMS, scope=SCOPE,
    locations=['mmdet_centernet.datasets.transforms'])
DATASETS = Registry(
    'dataset', parent=ROOT_DATASETS, scope=SCOPE, locations=['mmdet_centernet.datasets'])
METRICS = Registry(
    'metric', parent=ROOT_METRICS, scope=SCOPE, locations=['mmdet_centernet.evaluation'])
HOOKS = Registry(
    'hook', parent=ROOT_HOOKS, scope=SCOPE, locations=['mmdet_centernet.engine.hooks'])
VISUALIZERS = Registry(
    'visualizer', parent=ROOT_VISUALIZERS, scope=SCOPE,
    locations=['mmdet_centernet.visualization'])
OPTIM_WRAPPERS = Registry(
    'optim wrapper', parent=ROOT_OPTIM_WRAPPERS, scope=SCOPE,
    locations=['mmdet_centernet.engine.optim_wrapper'])
