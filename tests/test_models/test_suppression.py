"""Suppression of one image's detections, class by class."""
import pytest
import torch

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.layers.suppression import suppress
from mmdet_centernet.ops.boxes import nms, soft_nms

NMS = dict(type='nms', iou_threshold=0.5)
SOFT_NMS = dict(type='soft_nms', iou_threshold=0.5, sigma=0.5, min_score=0.01,
                method='gaussian', offset=1)


def detections(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * torch.tensor([60., 40.])
    half = 4 + torch.rand(count, 2, generator=generator) * 10
    boxes = torch.cat((center - half, center + half), dim=1)
    return boxes, torch.rand(count, generator=generator), torch.randint(
        0, 3, (count, ), generator=generator)


def class_by_class(boxes, scores, labels, choose):
    """Apply ``choose(boxes, scores)`` -> (new scores, indices) to one class after the other."""
    parts = []
    for label in labels.unique():
        own = (labels == label).nonzero().flatten()
        new_scores, kept = choose(boxes[own], scores[own])
        parts += zip(new_scores.tolist(), boxes[own][kept].tolist(), labels[own][kept].tolist())
    return sorted(parts, reverse=True)


@pytest.mark.parametrize('cfg', [NMS, SOFT_NMS], ids=['nms', 'soft_nms'])
def test_suppress_equals_one_class_after_the_other(cfg):
    boxes, scores, labels = detections()
    assert boxes.min() < 0  # detections may reach out of the image
    options = {key: value for key, value in cfg.items() if key != 'type'}

    def choose(boxes, scores):
        if cfg is NMS:
            kept = nms(boxes, scores, 0.5)
            return scores[kept], kept
        dets, kept = soft_nms(boxes, scores, **options)
        return dets[:, 4], kept

    expected = class_by_class(boxes, scores, labels, choose)
    assert len(expected) < len(boxes)
    found, kept = suppress(boxes, scores, labels, cfg)
    assert list(zip(found.tolist(), boxes[kept].tolist(), labels[kept].tolist())) == expected
    for got, fewer in zip((found, kept), suppress(boxes, scores, labels, cfg, max_num=7)):
        assert torch.equal(fewer, got[:7])


def test_suppress_keeps_classes_apart_beyond_the_edges():
    """mmcv shifts the next class by 601 px, which would put its box onto the first one."""
    boxes = torch.tensor([[590., 590., 600., 600.], [-11., -11., -1., -1.]])
    _, kept = suppress(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), NMS)
    assert kept.tolist() == [0, 1]


@pytest.mark.parametrize('cfg', [NMS, SOFT_NMS], ids=['nms', 'soft_nms'])
def test_suppress_takes_all_classes_as_one_if_asked(cfg):
    boxes, scores, labels = detections(seed=1)
    found = suppress(boxes, scores, labels, dict(cfg, class_agnostic=True))
    expected = suppress(boxes, scores, torch.zeros_like(labels), cfg)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert found[0].sum() < suppress(boxes, scores, labels, cfg)[0].sum()


@pytest.mark.parametrize('cfg', [NMS, SOFT_NMS], ids=['nms', 'soft_nms'])
def test_suppress_without_detections(cfg):
    scores, kept = suppress(*(x[:0] for x in detections()), cfg)
    assert scores.shape == kept.shape == (0, ) and kept.dtype == torch.int64


@pytest.mark.parametrize('cfg, words', [
    (dict(iou_threshold=0.5), 'has type None'),
    (dict(type='soft_nms', iou_thr=0.5), 'no option iou_thr'),
    (dict(type='soft_nmm'), "has type 'soft_nmm'")])
def test_suppress_refuses(cfg, words):
    with pytest.raises(UserError, match=words):
        suppress(*detections(), cfg)
