"""NMS and overlaps against loops, recorded answers of mmcv, and installed libraries."""
import itertools
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from reference.boxes import nms_slowly, overlap_slowly

from mmdet_centernet.ops import boxes as boxes_module
from mmdet_centernet.ops.boxes import box_overlaps, nms

RECORDED = json.loads((Path(__file__).parents[1] / 'data' / 'mmcv_ops.json').read_text())


def nms_by_loops(boxes, scores, iou_threshold, offset):
    kept = nms_slowly(
        boxes.tolist(), scores.tolist(), iou_threshold, offset, number=np.float32)
    return torch.tensor(kept, dtype=torch.int64)


def nms_by_mmcv(boxes, scores, iou_threshold, offset):
    """mmcv's kernel sorts unstably: give it the ranks, in which nothing ties."""
    ranks = torch.empty(len(scores))
    ranks[scores.argsort(descending=True, stable=True)] = torch.arange(len(scores), 0., -1)
    return sys.modules['mmcv._ext'].nms(boxes, ranks, float(iou_threshold), offset)


REFERENCES = dict(loops=nms_by_loops, mmcv=nms_by_mmcv)
if find_spec('torchvision'):
    from torchvision.ops import nms as torchvision_nms

    def nms_by_torchvision(boxes, scores, iou_threshold, offset):
        # It has no offset, and compares with the threshold in double precision.
        moved = boxes + torch.tensor([0., 0., offset, offset])
        return torchvision_nms(moved, scores, np.float32(iou_threshold).item())

    REFERENCES['torchvision'] = nms_by_torchvision


def coarse_boxes(count, generator, smallest=0):
    """Corners and sides in quarters: overlaps equal thresholds, boxes equal boxes."""
    corner = torch.randint(0, 20, (count, 2), generator=generator)
    sides = torch.randint(smallest, 12, (count, 2), generator=generator)
    return torch.cat((corner, corner + sides), 1) / 4


@pytest.mark.parametrize('reference', REFERENCES)
def test_nms_equals_references_including_ties(reference):
    for iou_threshold, offset in itertools.product((0., 0.25, 0.5, 0.6, 0.7, 1.), (0, 1)):
        generator = torch.Generator().manual_seed(int(100 * iou_threshold) + offset)
        for count in (0, 1, 2, 7, 20, 33):
            boxes = coarse_boxes(count, generator)
            scores = torch.randint(0, 4, (count, ), generator=generator) / 3
            expected = REFERENCES[reference](boxes, scores, iou_threshold, offset)
            actual = nms(boxes, scores, iou_threshold, offset)
            case = iou_threshold, offset, count
            assert actual.dtype == torch.int64, case
            assert actual.tolist() == expected.tolist(), case


def test_nms_and_overlaps_equal_recorded_answers_of_mmcv():
    assert len(RECORDED) == 60
    for number, case in enumerate(RECORDED):
        boxes, scores = torch.tensor(case['boxes']).view(-1, 4), torch.tensor(case['scores'])
        kept = nms(boxes, scores, case['iou_threshold'], case['offset'])
        assert kept.tolist() == case['nms'], number
        for mode, expected in zip(('iou', 'iof'), case['overlaps']):
            overlaps = box_overlaps(boxes, boxes, mode, offset=case['offset'])
            assert torch.equal(
                overlaps, torch.tensor(expected).view(len(boxes), len(boxes))), (number, mode)


def test_nms_by_blocks_is_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    boxes = coarse_boxes(200, generator)
    scores = torch.randint(0, 9, (200, ), generator=generator) / 8
    whole = nms(boxes, scores, 0.4)
    for size in (1, 7, 64):
        monkeypatch.setattr(boxes_module, 'BLOCK_SIZE', size)
        assert torch.equal(nms(boxes, scores, 0.4), whole)


def test_nms_resolves_a_chain_of_suppressions_in_order():
    # Each box overlaps only its neighbors, so every other one stays.
    left = torch.arange(50.)
    boxes = torch.stack((left, torch.zeros(50), left + 2, torch.ones(50)), 1)
    assert nms(boxes, torch.arange(50., 0, -1), 0.2).tolist() == list(range(0, 50, 2))


@given(st.integers(0, 30), st.floats(0, 1), st.integers(0, 2**31 - 1))
def test_nms_keeps_no_overlaps_and_drops_only_what_is_covered(count, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = coarse_boxes(count, generator, smallest=1)
    scores = torch.rand(count, generator=generator)
    kept = nms(boxes, scores, threshold)
    overlaps = box_overlaps(boxes, boxes)
    assert (overlaps[kept][:, kept].triu(1) <= threshold).all()
    assert (scores[kept].diff() <= 0).all()
    for index in set(range(count)) - set(kept.tolist()):
        better = kept[scores[kept] >= scores[index]]
        assert (overlaps[better, index] > threshold).any()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_nms_in_other_precisions(dtype):
    boxes = torch.tensor([[0, 0, 300, 300], [0, 0, 300, 290], [400, 0, 500, 300]], dtype=dtype)
    scores = torch.tensor([0.5, 0.75, 0.25], dtype=dtype)
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('offset', [0, 1])
def test_overlaps_equal_loops(mode, offset):
    generator = torch.Generator().manual_seed(4)
    first, second = coarse_boxes(6, generator), coarse_boxes(9, generator)
    expected = torch.tensor([
        [overlap_slowly(a.numpy(), b.numpy(), offset, mode, np.float32) for b in second]
        for a in first])
    overlaps = box_overlaps(first, second, mode, offset=offset)
    torch.testing.assert_close(overlaps, expected, rtol=0, atol=0, equal_nan=True)
    aligned = box_overlaps(first, second[:6], mode, aligned=True, offset=offset)
    torch.testing.assert_close(aligned, expected.diagonal(), rtol=0, atol=0, equal_nan=True)


def test_overlaps_of_nothing():
    boxes, none = torch.rand(3, 4), torch.empty(0, 4)
    assert box_overlaps(none, boxes).shape == (0, 3)
    assert box_overlaps(boxes, none).shape == (3, 0)
    assert box_overlaps(none, none, aligned=True).shape == (0, )


def test_overlaps_refuse_unknown_modes_and_counts():
    boxes = torch.rand(3, 4)
    with pytest.raises(ValueError, match="mode is 'giou'"):
        box_overlaps(boxes, boxes, mode='giou')
    with pytest.raises(ValueError, match='got 3 and 2'):
        box_overlaps(boxes, boxes[:2], aligned=True)
