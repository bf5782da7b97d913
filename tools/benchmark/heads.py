"""Targets, losses and decoding of both heads, without the network."""
import torch
from mmdet.models.dense_heads import CenterNetHead as MMDetHead
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from mmdet_centernet.models.dense_heads import CenterNetHead

CLASSES = 80
STRIDE = 4
TEST_CFG = dict(topk=100, local_maximum_kernel=3, max_per_img=100)


def samples(batch, size, objects, classes=CLASSES):
    """Return data samples of a batch with random boxes, from 8 px to half the image wide."""
    generator = torch.Generator().manual_seed(objects)
    result = []
    for _ in range(batch):
        center = torch.rand(objects, 2, generator=generator) * size
        side = 8 * (size / 16) ** torch.rand(objects, 2, generator=generator)
        boxes = torch.cat((center - side / 2, center + side / 2), dim=1).clamp(0, size - 1)
        sample = DetDataSample(metainfo=dict(
            img_shape=(size, size), ori_shape=(size, size), batch_input_shape=(size, size),
            border=[0, size, 0, size]))
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.randint(0, classes, (objects,), generator=generator))
        result.append(sample)
    return result


def network_outputs(batch, size, classes=CLASSES):
    """Return logits, sizes and offsets like those of a network at the start of training."""
    generator = torch.Generator().manual_seed(0)
    side = size // STRIDE
    return (
        torch.randn(batch, classes, side, side, generator=generator) * 1.5 - 4,
        torch.rand(batch, 2, side, side, generator=generator) * 20,
        torch.rand(batch, 2, side, side, generator=generator))


def _head(side, classes):
    settings = dict(
        num_classes=classes, in_channels=64, feat_channels=64, test_cfg=ConfigDict(TEST_CFG))
    if side == 'ours':
        return CenterNetHead(**settings)
    return MMDetHead(
        **settings,
        loss_center_heatmap=dict(type='mmdet.GaussianFocalLoss', loss_weight=1.0),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.1),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=1.0))


def encode(side, batch=16, size=512, objects=32, classes=CLASSES):
    """Encode boxes: targets of our head, or mmdet's dense ones."""
    head = _head(side, classes)
    instances = [sample.gt_instances for sample in samples(batch, size, objects, classes)]
    shape = batch, classes, size // STRIDE, size // STRIDE
    if side == 'ours':
        return lambda: head.encode(instances, [{}] * batch, shape)
    boxes, labels = [i.bboxes for i in instances], [i.labels for i in instances]
    return lambda: head.get_targets(boxes, labels, shape, (size, size))


def loss(side, batch=16, size=512, objects=32, classes=CLASSES):
    """Compute losses and gradients from logits and boxes; mmdet's sigmoid is part of its head.

    A run returns the losses and the gradients of logits, sizes and offsets.
    """
    head = _head(side, classes)
    data = samples(batch, size, objects, classes)
    instances, metas = [s.gt_instances for s in data], [s.metainfo for s in data]
    outputs = [x.requires_grad_() for x in network_outputs(batch, size, classes)]
    logits, wh, offset = outputs

    def run():
        if side == 'ours':
            losses = head.loss_by_feat(
                [dict(heatmap=logits, wh=wh, offset=offset)], instances, metas)
        else:
            losses = head.loss_by_feat([logits.sigmoid()], [wh], [offset], instances, metas)
        return losses, torch.autograd.grad(sum(losses.values()), outputs)

    return run


def decode(side, batch=16, size=512, classes=CLASSES):
    """Decode network outputs; ours begins with the sigmoid."""
    head = _head(side, classes)
    metas = [sample.metainfo for sample in samples(batch, size, 1, classes)]
    logits, wh, offset = network_outputs(batch, size, classes)
    if side == 'ours':
        return lambda: head.predict_by_feat([dict(heatmap=logits, wh=wh, offset=offset)], metas)
    probabilities = logits.sigmoid()
    return lambda: head.predict_by_feat([probabilities], [wh], [offset], metas)
