"""Ground truth in place of network outputs, against loops."""
from collections import deque

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmdet_centernet.analysis.oracle import (
    HARD,
    LOST,
    Experiment,
    count_objects,
    experiments_of,
    nearest_values,
    true_output,
)
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import (
    Attribute,
    Box,
    Boxes3D,
    Depth,
    Dimensions,
    Keypoints,
    Orientation,
)


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def spread(cells, size):
    """Count (a slow reference) steps from each cell to the nearest of some cells, by flooding."""
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
def test_nearest_values_are_those_of_a_nearest_cell(count, size):
    height, width = size
    generator = torch.Generator().manual_seed(count)
    cells = torch.randint(height * width, (count, ), generator=generator)
    if count == 7:
        cells[:2] = torch.tensor([0, height * width - 1])  # corners
    # A value is its own cell, so that the map tells the owner of each cell.
    values = torch.stack((cells % width, cells // width), dim=1).float()
    found = nearest_values(values, cells, size)
    assert found.shape == (2, height, width)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    distance = (found[0] - x).abs() + (found[1] - y).abs()
    assert np.array_equal(distance.numpy(), spread(cells.tolist(), size))


def test_nearest_values_of_one_cell_and_of_none():
    values = torch.tensor([[1.], [2.], [3.]])
    found = nearest_values(values, torch.tensor([4, 0, 4]), (2, 4))
    assert found[0, :, 0].tolist() == [2, 3] and (found > 1).all()
    assert torch.equal(nearest_values(values[:0], torch.zeros(0, dtype=torch.int64), (3, 2)),
                       torch.zeros(1, 3, 2))


def make_head(properties, num_classes=2, **coder):
    return CenterHead(num_classes, 4, 4, properties, coder=coder, test_cfg=dict(topk=5))


def instances_of(boxes, labels, **fields):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.as_tensor(labels, dtype=torch.int64), **fields)


def perfect(head, instances, meta=None, size=(8, 12)):
    """Return the outputs of a perfect network for one image."""
    targets = head.encode([instances], [meta or {}], (1, head.num_classes, *size))
    return {name: true_output(targets[name], branch, (1, branch.channels, *size))
            for name, branch in head.branches.items()}


BOXES = [[1.5, 2, 21, 17], [13, 9, 16.25, 30], [30, 20, 44, 29]]


@pytest.mark.parametrize('per_class', [False, True])
@pytest.mark.parametrize('loss_bbox', [None, dict(type='mmdet.GIoULoss')], ids=['L1', 'GIoU'])
def test_true_output_decodes_to_the_boxes(per_class, loss_bbox):
    head = make_head([Box(2, per_class=per_class, loss_bbox=loss_bbox)])
    outputs = perfect(head, instances_of(BOXES, [0, 1, 1]))
    assert outputs['wh'].shape == (1, 4 if per_class else 2, 8, 12)
    found = head.decode(outputs)
    assert found['scores'][0].tolist()[:3] == [1, 1, 1] and (found['scores'][0, 3:] < 1).all()
    order = found['bboxes'][0, :3, 0].argsort()
    torch.testing.assert_close(found['bboxes'][0, :3][order], torch.tensor(BOXES))
    assert found['labels'][0, :3][order].tolist() == [0, 1, 1]


def test_true_output_of_dense_sizes_decodes_to_the_boxes():
    head = make_head([Box(dense_wh=True)])
    found = head.decode(perfect(head, instances_of(BOXES, [0, 1, 1])))
    order = found['bboxes'][0, :3, 0].argsort()
    torch.testing.assert_close(found['bboxes'][0, :3][order], torch.tensor(BOXES))


def test_true_output_of_sizes_per_class_tells_classes_in_one_cell_apart():
    boxes = [[8, 8, 18, 14], [2, 2, 24, 20]]  # both centers at (13, 11), cell (3, 2)
    for per_class, equal in ((False, False), (True, True)):
        head = make_head([Box(2, per_class=per_class)], shared_cells='all')
        found = head.decode(perfect(head, instances_of(boxes, [0, 1])))
        bboxes = found['bboxes'][0, :2][found['labels'][0, :2].argsort()]
        torch.testing.assert_close(bboxes[1], torch.tensor([2., 2, 24, 20]))
        assert torch.allclose(bboxes[0], torch.tensor([8., 8, 18, 14])) == equal


@pytest.mark.parametrize('dense', [False, True])
def test_true_output_decodes_to_the_keypoints(dense):
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor(BOXES).view(-1, 2, 2)
    keypoints = corners[:, :1] + torch.rand(3, 4, 2, generator=generator) * (
        corners[:, 1:] - corners[:, :1])
    head = make_head([Box(), Keypoints(4, dense_displacement=dense)])
    for with_heatmap in (True, False):
        found = head.decode(perfect(head, instances_of(
            BOXES, [0, 1, 1], keypoints=keypoints, keypoints_visible=torch.ones(3, 4))))
        order = found['bboxes'][0, :3, 0].argsort()
        torch.testing.assert_close(
            found['keypoints'][0, :3][order], keypoints, rtol=0,
            atol=4.0 if with_heatmap else 1e-4)
        head = make_head([Box(), Keypoints(4, dense_displacement=dense, with_heatmap=False)])


def test_true_output_decodes_to_the_3d_boxes():
    boxes_3d = torch.tensor([[-2.0, 1.5, 20, 1.5, 1.6, 4, 0.3], [3, 1.6, 35, 1.7, 0.6, 0.8, -2]])
    camera = np.array([[30.0, 0, 24, 1], [0, 30, 14, 0.2], [0, 0, 1, 0.003]])
    head = make_head([Depth(), Orientation(), Dimensions(), Box(),
                      Boxes3D(with_location_offset=True)])
    middle = boxes_3d[:, :3] - torch.tensor([0, 1, 0]) * boxes_3d[:, 3:4] / 2
    projected = torch.cat((middle, torch.ones(2, 1)), 1) @ torch.from_numpy(camera).float().T
    u = projected[:, 0] / projected[:, 2]
    alpha = boxes_3d[:, 6] - torch.atan2(u - 24, torch.tensor(30.0))
    found = head.decode(
        perfect(head, instances_of(
            [[15, 10, 25, 20], [27, 12, 29, 19]], [0, 1], bboxes_3d=boxes_3d, alpha=alpha),
            dict(cam2img=camera)),
        dict(cam2img=torch.from_numpy(camera)[None].float()))
    order = found['depth'][0, :2].argsort()
    torch.testing.assert_close(found['bboxes_3d'][0, :2][order], boxes_3d, rtol=1e-3, atol=1e-2)


def test_true_output_decodes_to_the_attributes():
    head = make_head([Box(), Attribute('a', num_classes=3), Attribute('b', 'multi_label', 2),
                      Attribute('c', 'number', mean=5.0, std=2.0)])
    labels = torch.tensor([[1.0, 0], [0, 0], [1, 1]])
    found = head.decode(perfect(head, instances_of(
        BOXES, [0, 1, 1], attribute_a=torch.tensor([2.0, 0, 1]), attribute_b=labels,
        attribute_c=torch.tensor([1.0, -3, 9]))))
    order = found['bboxes'][0, :3, 0].argsort()
    assert found['attribute_a'][0, :3][order].argmax(1).tolist() == [2, 0, 1]
    torch.testing.assert_close(found['attribute_b'][0, :3][order], labels, rtol=0, atol=1e-4)
    torch.testing.assert_close(found['attribute_c'][0, :3][order], torch.tensor([1.0, -3, 9]))


def test_true_output_without_objects():
    head = make_head([Box()])
    outputs = perfect(head, instances_of([], []))
    assert (head.decode(outputs)['scores'] == 0).all()
    assert all(torch.equal(outputs[name], torch.zeros(1, 2, 8, 12)) for name in ('wh', 'offset'))


def counted(boxes, labels, limit=100, **options):
    head = make_head([Box()])
    centers, _ = head.coder.encode([instances_of(boxes, labels)], [{}], (1, 2, 8, 12))
    counts = count_objects(centers, len(boxes), limit, **options)
    return {reason: count for reason, count in counts.items() if count}


def around(x, y, half=3):
    return [x - half, y - half, x + half, y + half]


@pytest.mark.parametrize('boxes, labels, options, expected', [
    ([], [], {}, {}),
    ([around(10, 10), around(30, 10)], [0, 0], {}, {}),
    ([around(10, 10), around(30, 10), around(60, 10), [5, 5, 5, 9]], [0, 0, 0, 0], {},
     {LOST[0]: 2}),
    ([around(9, 9), around(10, 10), around(11, 11)], [0, 0, 0], {}, {LOST[1]: 2}),
    ([around(9, 9), around(10, 10)], [0, 1], {}, {LOST[2]: 1}),
    ([around(9, 9), around(10, 10)], [0, 1], dict(per_class=True), {}),
    ([around(6, 6), around(18, 6), around(30, 6)], [0, 1, 0], dict(limit=2), {LOST[3]: 1}),
    # Neighbors by a corner count, those of another class do not.
    ([around(10, 10), around(14, 14), around(30, 10)], [0, 0, 0], {}, {HARD[0]: 2}),
    ([around(10, 10), around(14, 14)], [0, 1], {}, {}),
    ([[10, 10, 13, 30], around(30, 10)], [0, 0], {}, {HARD[1]: 1}),
])
def test_count_objects_that_are_lost_or_hard(boxes, labels, options, expected):
    assert counted(boxes, labels, **options) == expected


def test_experiments_of_strides_and_branches():
    box = ('heatmap', 'wh', 'offset')
    assert experiments_of(box, 4, False) == [Experiment(4), Experiment(4, mid_cell=True)]
    assert experiments_of(('heatmap', 'wh'), 4, False) == [Experiment(4)]
    assert [row.stride for row in experiments_of(box, 4, False, strides=[2, 8])] == [2, 2, 8, 8]
    rows = experiments_of(box, 4, True)
    assert len(set(rows)) == 8
    assert rows[0] == Experiment(4, frozenset(box)) and rows[-1] == Experiment(4)
    assert experiments_of(box, 4, True, parts=['wh']) == [
        Experiment(4, frozenset(box)), Experiment(4, frozenset(('heatmap', 'offset')))]
    many = tuple('abcde')
    rows = experiments_of(many, 4, True)
    assert [len(row.network) for row in rows] == [5, 4, 4, 4, 4, 4, 0]
