"""Soft-NMS against a slow loop and against mmcv's recorded answers."""
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from mmdet_centernet.ops.nms import box_overlaps, nms
from mmdet_centernet.ops.soft_nms import METHODS, soft_nms

RECORDED = json.loads((Path(__file__).parents[1] / 'data' / 'mmcv_ops.json').read_text())


def soft_nms_by_loops(boxes, scores, iou_threshold, sigma, min_score, method):
    """The paper's Figure 2 on lists; scores must not tie."""
    overlaps = box_overlaps(boxes.double(), boxes.double())
    left = dict(enumerate(scores.tolist()))
    taken = []
    while left:
        best = max(left, key=left.get)
        taken.append((best, left.pop(best)))
        for index in list(left):
            overlap = overlaps[best, index].item()
            if method == 'gaussian':
                left[index] *= math.exp(-overlap**2 / sigma)
            elif overlap >= iou_threshold:
                left[index] *= 0 if method == 'naive' else 1 - overlap
            if left[index] < min_score:
                del left[index]
    return taken


@pytest.mark.parametrize('method', METHODS)
def test_equals_the_loop(method):
    generator = torch.Generator().manual_seed(0)
    for count in (0, 1, 2, 10, 60):
        corner = torch.rand(count, 2, generator=generator) * 30
        sides = torch.rand(count, 2, generator=generator) * 20
        boxes = torch.cat((corner, corner + sides), 1)
        scores = torch.rand(count, generator=generator)
        expected = soft_nms_by_loops(boxes, scores, 0.3, 0.5, 0.05, method)
        dets, indices = soft_nms(boxes, scores, 0.3, 0.5, 0.05, method)
        assert indices.tolist() == [index for index, _ in expected]
        assert torch.equal(dets[:, :4], boxes[indices])
        torch.testing.assert_close(
            dets[:, 4], torch.tensor([score for _, score in expected]), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('case', range(len(RECORDED)))
def test_equals_mmcvs_recorded_answers_ties_included(case):
    case = RECORDED[case]
    boxes, scores = torch.tensor(case['boxes']).view(-1, 4), torch.tensor(case['scores'])
    for answer in case['soft_nms']:
        dets, indices = soft_nms(
            boxes, scores, case['iou_threshold'], 0.5, 0.05, METHODS[answer['method']],
            case['offset'])
        assert indices.tolist() == answer['indices']
        torch.testing.assert_close(
            dets[:, 4], torch.tensor(answer['scores']), rtol=1e-6, atol=0)


@pytest.mark.parametrize('method', range(len(METHODS)))
def test_equals_the_mmcv_that_is_installed(method):
    """With a compiled mmcv its kernel, else the stand-in's use of ours."""
    generator = torch.Generator().manual_seed(method)
    for index in range(100):
        corner = torch.randint(0, 20, (25, 2), generator=generator)
        sides = torch.randint(1, 12, (25, 2), generator=generator)
        boxes = torch.cat((corner, corner + sides), 1) / 4
        scores = torch.randint(0, 6, (25, ), generator=generator) / 5
        expected = torch.zeros(25, 5)
        kept = sys.modules['mmcv._ext'].softnms(
            boxes, scores, expected, 0.5, 0.5, 0.05, method, index % 2)
        dets, indices = soft_nms(boxes, scores, 0.5, 0.5, 0.05, METHODS[method], index % 2)
        assert torch.equal(indices, kept)
        torch.testing.assert_close(dets, expected[:len(kept)], rtol=1e-6, atol=0)


def test_naive_soft_nms_is_nms():
    generator = torch.Generator().manual_seed(1)
    corner = torch.rand(40, 2, generator=generator) * 10
    boxes = torch.cat((corner, corner + 3), 1)
    scores = torch.rand(40, generator=generator) * 0.9 + 0.1
    _, indices = soft_nms(boxes, scores, 0.3, min_score=1e-3, method='naive')
    assert torch.equal(indices, nms(boxes, scores, 0.3))


def test_boxes_without_area_leave_scores_alone():
    boxes = torch.tensor([[2., 3., 2., 3.]]).repeat(3, 1)
    scores = torch.tensor([0.25, 1., 0.5])
    for method in METHODS:
        dets, indices = soft_nms(boxes, scores, 0.5, method=method)
        assert indices.tolist() == [1, 2, 0]
        assert dets[:, 4].tolist() == [1., 0.5, 0.25]


def test_input_is_not_changed():
    boxes = torch.tensor([[0., 0., 4., 4.], [0., 0., 4., 3.], [9., 9., 12., 12.]])
    scores = torch.tensor([0.25, 0.5, 1.])
    soft_nms(boxes, scores, method='gaussian')
    assert scores.tolist() == [0.25, 0.5, 1.]


def test_unknown_method():
    with pytest.raises(ValueError, match="method is 'hard'"):
        soft_nms(torch.rand(1, 4), torch.rand(1), method='hard')
