"""Ground truth in place of network outputs, against loops and against the test tool."""
from collections import deque

import numpy as np
import pytest
import torch

from mmdet_centernet.analysis.oracle import (
    HARD,
    LOST,
    MIDDLE,
    NETWORK,
    PARTS,
    TRUE,
    Experiment,
    count_objects,
    experiments_of,
    nearest_values,
    true_outputs,
)
from mmdet_centernet.models.task_modules import CenterNetBoxCoder


def spread(cells, size):
    """Slow reference: steps to the nearest centre from each cell, by flooding."""
    height, width = size
    steps = np.full(size, -1)
    queue = deque()
    for cell in cells:
        steps[cell // width, cell % width] = 0
        queue.append((cell // width, cell % width))
    while queue:
        y, x = queue.popleft()
        for ny, nx in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
            if 0 <= ny < height and 0 <= nx < width and steps[ny, nx] < 0:
                steps[ny, nx] = steps[y, x] + 1
                queue.append((ny, nx))
    return steps


@pytest.mark.parametrize('count', [1, 2, 7, 40])
@pytest.mark.parametrize('size', [(9, 13), (1, 6), (5, 1), (48, 33)])
def test_values_are_those_of_a_nearest_object(count, size):
    height, width = size
    generator = torch.Generator().manual_seed(count)
    cells = torch.randint(height * width, (count, ), generator=generator)
    if count == 7:
        cells[:2] = torch.tensor([0, height * width - 1])  # corners
    # The value of an object is its own cell, so that the map tells whom each cell belongs to.
    values = torch.stack((cells % width, cells // width), dim=1).float()
    found = nearest_values(values, cells, size)
    assert found.shape == (2, height, width)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    distance = (found[0] - x).abs() + (found[1] - y).abs()
    assert np.array_equal(distance.numpy(), spread(cells.tolist(), size))


def test_the_last_object_of_a_cell_counts_and_none_is_zero():
    values = torch.tensor([[1.], [2.], [3.]])
    found = nearest_values(values, torch.tensor([4, 0, 4]), (2, 4))
    assert found[0, :, 0].tolist() == [2, 3] and (found > 1).all()
    assert torch.equal(nearest_values(values[:0], torch.zeros(0, dtype=torch.int64), (3, 2)),
                       torch.zeros(1, 3, 2))


def encode(boxes, labels, num_classes=2, size=(8, 12), **options):
    coder = CenterNetBoxCoder(**options)
    shape = (1, num_classes, *size)
    return coder, shape, coder.encode(
        [torch.tensor(boxes, dtype=torch.float32).view(-1, 4)], [torch.as_tensor(labels)], shape)


@pytest.mark.parametrize('wh_channels', [2, 4])
def test_decoding_gives_the_boxes_back(wh_channels):
    boxes = [[1.5, 2, 21, 17], [13, 9, 16.25, 30], [30, 20, 44, 29]]
    coder, shape, targets = encode(boxes, [0, 1, 1])
    outputs = true_outputs(targets, shape, wh_channels)
    assert outputs['wh'].shape == (1, wh_channels, 8, 12)
    found, scores, labels = coder.decode(**outputs, topk=5)
    assert scores[0].tolist()[:3] == [1, 1, 1] and (scores[0, 3:] < 1).all()
    order = found[0, :3, 0].argsort()
    torch.testing.assert_close(found[0, :3][order], torch.tensor(boxes))
    assert labels[0, :3][order].tolist() == [0, 1, 1]


def test_sizes_per_class_tell_classes_in_one_cell_apart():
    boxes = [[8, 8, 18, 14], [2, 2, 24, 20]]  # both centres at (13, 11), cell (3, 2)
    for wh_channels, equal in ((2, False), (4, True)):
        coder, shape, targets = encode(boxes, [0, 1], shared_cells='all')
        found, _, labels = coder.decode(**true_outputs(targets, shape, wh_channels), topk=2)
        found = found[0][labels[0].argsort()]
        torch.testing.assert_close(found[1], torch.tensor([2., 2, 24, 20]))
        assert torch.allclose(found[0], torch.tensor([8., 8, 18, 14])) == equal


def test_no_object():
    coder, shape, targets = encode([], torch.zeros(0, dtype=torch.int64))
    outputs = true_outputs(targets, shape, 2)
    _, scores, _ = coder.decode(**outputs, topk=3)
    assert (scores == 0).all()
    assert not any(count_objects(targets, outputs['heatmap'].isposinf(), 100).values())


def counted(boxes, labels, limit=100, **options):
    _, shape, targets = encode(boxes, labels)
    centers = true_outputs(targets, shape, 2)['heatmap'].isposinf()
    counts = count_objects(targets, centers, limit, **options)
    return {reason: count for reason, count in counts.items() if count}


def around(x, y, half=3):
    return [x - half, y - half, x + half, y + half]


@pytest.mark.parametrize('boxes, labels, options, expected', [
    ([around(10, 10), around(30, 10)], [0, 0], {}, {}),
    ([around(10, 10), around(30, 10), around(60, 10), [5, 5, 5, 9]], [0, 0, 0, 0], {},
     {LOST[0]: 2}),
    ([around(9, 9), around(10, 10), around(11, 11)], [0, 0, 0], {}, {LOST[1]: 2}),
    ([around(9, 9), around(10, 10)], [0, 1], {}, {LOST[2]: 1}),
    ([around(9, 9), around(10, 10)], [0, 1], dict(wh_per_class=True), {}),
    ([around(6, 6), around(18, 6), around(30, 6)], [0, 1, 0], dict(limit=2), {LOST[3]: 1}),
    # Neighbours by a corner count, those of another class do not.
    ([around(10, 10), around(14, 14), around(30, 10)], [0, 0, 0], {}, {HARD[0]: 2}),
    ([around(10, 10), around(14, 14)], [0, 1], {}, {}),
    ([[10, 10, 13, 30], around(30, 10)], [0, 0], {}, {HARD[1]: 1}),
])
def test_lost_and_hard_objects_are_counted(boxes, labels, options, expected):
    assert counted(boxes, labels, **options) == expected


def test_rows():
    assert experiments_of(4, False) == [
        Experiment(4), Experiment(4, offset=MIDDLE)]
    assert [row.stride for row in experiments_of(4, False, strides=[2, 8])] == [2, 2, 8, 8]
    rows = experiments_of(4, True)
    assert len(set(rows)) == 8
    assert rows[0] == Experiment(4, NETWORK, NETWORK, NETWORK) and rows[-1] == Experiment(4)
    assert experiments_of(4, True, parts=['wh']) == [
        Experiment(4, NETWORK, NETWORK, NETWORK), Experiment(4, NETWORK, TRUE, NETWORK)]
    assert PARTS == ('heatmap', 'wh', 'offset')
