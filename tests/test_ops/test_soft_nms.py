"""Soft-NMS against a loop and recorded answers of mmcv."""
import json
import sys
from pathlib import Path

import pytest
import torch
from reference.boxes import soft_nms_slowly

from mmdet_centernet.ops.boxes import METHODS, nms, soft_nms

RECORDED = json.loads((Path(__file__).parents[1] / 'data' / 'mmcv_ops.json').read_text())


def soft_nms_by_loops(boxes, scores, *options):
    return soft_nms_slowly(boxes.tolist(), scores.tolist(), *options)


def random_boxes(count, generator, negative=0):
    """Return boxes on a grid, so that scores and overlaps tie; some without area."""
    corner = torch.randint(-8, 12, (count, 2), generator=generator)
    sides = torch.randint(-negative, 24, (count, 2), generator=generator)
    scores = torch.randint(1, 12, (count, ), generator=generator) / 8
    return torch.cat((corner, corner + sides), 1).double() / 2, scores.double()


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', METHODS)
def test_equals_loop(method, offset):
    generator = torch.Generator().manual_seed(0)
    discarded = 0
    for count in (0, 1, 2, 10, 60):
        boxes, scores = random_boxes(count, generator, negative=2)
        expected = soft_nms_by_loops(boxes, scores, 0.3, 0.5, 0.2, method, offset)
        dets, indices = soft_nms(boxes, scores, 0.3, 0.5, 0.2, method, offset)
        assert indices.tolist() == [index for index, _ in expected]
        assert torch.equal(dets[:, :4], boxes[indices])
        assert dets[:, 4].tolist() == pytest.approx([score for _, score in expected], rel=1e-12)
        discarded += count - len(expected)
    assert discarded > 5


@pytest.mark.parametrize('method', METHODS)
def test_classes_do_not_suppress_each_other(method):
    """As one loop for each class, best scores first."""
    generator = torch.Generator().manual_seed(1)
    for count in (0, 1, 7, 80):
        boxes, scores = random_boxes(count, generator)
        labels = torch.tensor([79, 0, 5])[torch.randint(0, 3, (count, ), generator=generator)]
        dets, indices = soft_nms(boxes, scores, 0.3, 0.5, 0.2, method, 1, labels)
        assert torch.equal(dets[:, 4], dets[:, 4].sort(descending=True)[0])
        for label in (0, 5, 79):
            own = (labels == label).nonzero().flatten()
            expected = soft_nms_by_loops(boxes[own], scores[own], 0.3, 0.5, 0.2, method, 1)
            found = labels[indices] == label
            assert indices[found].tolist() == [int(own[index]) for index, _ in expected]
            assert dets[found, 4].tolist() == pytest.approx([s for _, s in expected], rel=1e-12)
        for most in (0, 1, 5, 200):
            fewer = soft_nms(boxes, scores, 0.3, 0.5, 0.2, method, 1, labels, max_num=most)
            assert torch.equal(fewer[0], dets[:most])
            assert torch.equal(fewer[1], indices[:most])


def test_half_precision_is_computed_in_single():
    boxes, scores = random_boxes(30, torch.Generator().manual_seed(2))
    boxes, scores = boxes.half(), scores.half()
    dets, indices = soft_nms(boxes, scores, method='gaussian')
    expected, expected_indices = soft_nms(boxes.float(), scores.float(), method='gaussian')
    assert dets.dtype == torch.float16
    assert torch.equal(indices, expected_indices)
    assert torch.equal(dets, expected.half())


def test_equals_recorded_answers_of_mmcv_including_ties():
    assert len(RECORDED) == 60
    for number, case in enumerate(RECORDED):
        boxes, scores = torch.tensor(case['boxes']).view(-1, 4), torch.tensor(case['scores'])
        for answer in case['soft_nms']:
            dets, indices = soft_nms(
                boxes, scores, case['iou_threshold'], 0.5, 0.05, METHODS[answer['method']],
                case['offset'])
            assert indices.tolist() == answer['indices'], (number, answer['method'])
            torch.testing.assert_close(
                dets[:, 4], torch.tensor(answer['scores']), rtol=1e-6, atol=0,
                msg=lambda text, number=number: f'case {number}: {text}')


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
