"""Small models and batches that several tests use."""
import copy

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData


def build(config, **overrides):
    """A detector from a config file without pretrained weights, under scope mmdet.

    ``overrides``: keys of the model's config, levels joined by two underscores.
    """
    config = copy.deepcopy(Config.fromfile(config).model)
    config.backbone.init_cfg = None
    for key, value in overrides.items():
        target = config
        *path, last = key.split('__')
        for name in path:
            target = target[name]
        target[last] = value
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config)
        model.init_weights()
    return model


def samples(batch, size, count, num_classes, seed=0):
    """Data samples with ``count`` random boxes each."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(batch):
        center = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
        half = 4 + torch.rand(count, 2, generator=generator) * torch.tensor(size).min() / 4
        boxes = torch.cat((center - half, center + half), dim=1)
        boxes[:, 0::2].clamp_(0, width)
        boxes[:, 1::2].clamp_(0, height)
        labels = torch.randint(0, num_classes, (count,), generator=generator)
        sample = DetDataSample(metainfo=dict(
            img_shape=size, ori_shape=size, batch_input_shape=size, img_path='made.png'))
        sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
        result.append(sample)
    return result
