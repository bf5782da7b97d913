"""Record what mmcv's compiled CPU operations answer, for tests without them.

Run it with a compiled mmcv 2.1.0: ``python tests/data/record_mmcv_ops.py``. Coordinates and
scores are coarse, so that scores tie and overlaps equal the thresholds.
"""
import importlib
import json
from pathlib import Path

import torch

TARGET = Path(__file__).with_name('mmcv_ops.json')
SIZES = (0, 1, 2, 5, 9, 14)
THRESHOLDS = (0., 0.25, 0.5, 0.6, 0.7)
METHODS = (0, 1, 2)


def make_case(size, index, generator):
    """Boxes with sides of at least one cell, in quarters; scores in fifths."""
    corner = torch.randint(0, 8, (size, 2), generator=generator)
    sides = torch.randint(1, 6, (size, 2), generator=generator)
    return dict(
        boxes=(torch.cat((corner, corner + sides), 1) / 4).tolist(),
        scores=(torch.randint(0, 6, (size, ), generator=generator) / 5).tolist(),
        iou_threshold=THRESHOLDS[index % len(THRESHOLDS)],
        offset=index % 2)


def record(case, ext):
    """Add the compiled operations' answers to a case."""
    boxes, scores = torch.tensor(case['boxes']).view(-1, 4), torch.tensor(case['scores'])
    threshold, offset = case['iou_threshold'], case['offset']
    case['nms'] = ext.nms(boxes, scores, threshold, offset).tolist()
    case['soft_nms'] = []
    for method in METHODS:
        dets = torch.zeros(len(boxes), 5)
        kept = ext.softnms(boxes, scores, dets, threshold, 0.5, 0.05, method, offset)
        case['soft_nms'].append(dict(
            method=method, indices=kept.tolist(), scores=dets[:len(kept), 4].tolist()))
    case['overlaps'] = []
    for mode in (0, 1):
        overlaps = torch.zeros(len(boxes), len(boxes))
        if len(boxes):
            ext.bbox_overlaps(boxes, boxes, overlaps, mode=mode, aligned=False, offset=offset)
        case['overlaps'].append(overlaps.tolist())
    return case


def main():
    ext = importlib.import_module('mmcv._ext')
    generator = torch.Generator().manual_seed(2)
    cases = [
        record(make_case(size, index, generator), ext)
        for size in SIZES for index in range(10)]
    for case in cases:
        scores = torch.tensor(case['scores'])
        assert torch.equal(
            scores.argsort(descending=True), scores.argsort(descending=True, stable=True))
    # Nine digits tell every float32 from its neighbours.
    text = json.dumps(
        json.loads(json.dumps(cases), parse_float=lambda number: float(f'{float(number):.9g}')))
    TARGET.write_text(text + '\n')
    print(f'{len(cases)} cases -> {TARGET} ({TARGET.stat().st_size} bytes)')


if __name__ == '__main__':
    main()
