"""The losses with the original's settings against its formulas, written out as loops.

Facts: radius, targets and losses of xingyizhou/CenterNet (DESIGN of the repository: radius
formula without leading coefficients, boxes clipped to the outer cells' centres, every object
an entry of its own, divisor ``2 objects + 1e-4``). Everything in float64, object by object.
"""
import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmdet_centernet.models.dense_heads import CenterNetHead

STRIDE, CLASSES, HEIGHT, WIDTH = 4, 3, 18, 26
OFFICIAL = dict(
    type='mmdet_centernet.CenterNetBoxCoder', stride=STRIDE, radius='official',
    min_overlap=0.7, shared_cells='all')
FOCAL = dict(type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def make_head(dense_wh=False, **options):
    torch.manual_seed(0)
    head = CenterNetHead(**{**dict(
        num_classes=CLASSES, in_channels=6, feat_channels=5, normalizer='objects',
        coder=dict(OFFICIAL, dense_wh=dense_wh), loss_center_heatmap=FOCAL), **options})
    head.init_weights()
    return head


def make_outputs(batch, wh_channels=2, seed=1):
    """Some logits are beyond the original's clamp."""
    torch.manual_seed(seed)
    return dict(
        heatmap=torch.randn(batch, CLASSES, HEIGHT, WIDTH) * 5 - 2,
        wh=torch.rand(batch, wh_channels, HEIGHT, WIDTH) * 6 + 1,
        offset=torch.rand(batch, 2, HEIGHT, WIDTH))


def make_objects(*counts, seed=2):
    """Random boxes, some over the border, and two that share a cell where there are three."""
    torch.manual_seed(seed)
    result = []
    for count in counts:
        size = torch.tensor([WIDTH, HEIGHT]) * STRIDE
        center = torch.rand(count, 2) * size
        half = 2 + torch.rand(count, 2) * 24
        boxes = torch.cat((center - half, center + half), dim=1)
        labels = torch.randint(0, CLASSES, (count,))
        if count > 2:
            boxes[0] = torch.tensor([41.0, 21.0, 71.0, 43.0])
            boxes[1] = torch.tensor([39.0, 20.0, 73.0, 44.0])
            boxes[2] = torch.tensor([-30.0, 10.0, -10.0, 30.0])  # outside
        result.append(InstanceData(bboxes=boxes, labels=labels))
    return result


def radius_slowly(height, width, overlap=0.7):
    roots = []
    for a, b, c in [
        (1, height + width, width * height * (1 - overlap) / (1 + overlap)),
        (4, 2 * (height + width), (1 - overlap) * width * height),
        (4 * overlap, -2 * overlap * (height + width), (overlap - 1) * width * height),
    ]:
        roots.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return min(roots)


def targets_slowly(instances):
    """Heat map [B, C, H, W], its objects, and per image {(y, x): (value, object)}."""
    heatmap = torch.zeros(len(instances), CLASSES, HEIGHT, WIDTH, dtype=torch.float64)
    objects, dense = [], [{} for _ in instances]
    for image, instance in enumerate(instances):
        for box, label in zip(instance.bboxes.tolist(), instance.labels.tolist(), strict=True):
            x1, x2 = (min(max(v / STRIDE, 0), WIDTH - 1) for v in box[0::2])
            y1, y2 = (min(max(v / STRIDE, 0), HEIGHT - 1) for v in box[1::2])
            w, h = x2 - x1, y2 - y1
            if w <= 0 or h <= 0:
                continue
            radius = max(0, int(radius_slowly(math.ceil(h), math.ceil(w))))
            center = (x1 + x2) / 2, (y1 + y2) / 2
            cx, cy = int(center[0]), int(center[1])
            entry = SimpleNamespace(
                image=image, label=label, x=cx, y=cy, wh=(w, h),
                offset=(center[0] - cx, center[1] - cy))
            objects.append(entry)
            sigma = (2 * radius + 1) / 6
            for y in range(max(0, cy - radius), min(HEIGHT, cy + radius + 1)):
                for x in range(max(0, cx - radius), min(WIDTH, cx + radius + 1)):
                    value = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                    heatmap[image, label, y, x] = max(float(heatmap[image, label, y, x]), value)
                    if value >= dense[image].get((y, x), (0, None))[0]:
                        dense[image][y, x] = value, entry
    return heatmap, objects, dense


def clipped(logit):
    return min(max(1 / (1 + math.exp(-logit)), 1e-4), 1 - 1e-4)


def focal_slowly(logits, heatmap):
    total, ones = 0.0, 0
    for logit, y in zip(logits.flatten().tolist(), heatmap.flatten().tolist(), strict=True):
        p = clipped(logit)
        if y == 1:
            ones += 1
            total -= math.log(p) * (1 - p) ** 2
        else:
            total -= math.log(1 - p) * p**2 * (1 - y) ** 4
    return total / max(ones, 1)


def smooth_l1(difference):
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def over_objects(objects, values, wanted, error=abs, divisor=2, channel=lambda entry, axis: axis):
    total = 0.0
    for entry in objects:
        for axis in range(2):
            value = float(values[entry.image, channel(entry, axis), entry.y, entry.x])
            total += error(value - getattr(entry, wanted)[axis])
    return total / (divisor * len(objects) + 1e-4)


def check(head, outputs, instances, **expected):
    losses = head.loss_by_feat([outputs], instances, [{}] * len(instances))
    assert set(losses) == {f'loss_{name}' for name in expected}
    for name, value in expected.items():
        assert losses[f'loss_{name}'].item() == pytest.approx(value, rel=1e-5), name


COUNTS = pytest.mark.parametrize('counts', [(12, 0, 5), (1, 0), (0, 0)], ids=str)


@COUNTS
def test_as_the_original(counts):
    outputs, instances = make_outputs(len(counts)), make_objects(*counts)
    heatmap, objects, _ = targets_slowly(instances)
    if counts[0] > 2:
        places = [(o.image, o.y, o.x) for o in objects]
        assert len(set(places)) < len(places)  # two share a cell, and both count
    check(
        make_head(), outputs, instances,
        center_heatmap=focal_slowly(outputs['heatmap'], heatmap),
        wh=0.1 * over_objects(objects, outputs['wh'], 'wh'),
        offset=over_objects(objects, outputs['offset'], 'offset'))


def test_more_than_128_objects_in_an_image():
    """The original leaves out what comes after the 128th."""
    outputs, instances = make_outputs(1), make_objects(200)
    heatmap, objects, _ = targets_slowly(instances)
    assert len(objects) > 190
    check(
        make_head(), outputs, instances,
        center_heatmap=focal_slowly(outputs['heatmap'], heatmap),
        wh=0.1 * over_objects(objects, outputs['wh'], 'wh'),
        offset=over_objects(objects, outputs['offset'], 'offset'))


def test_halved_weights_of_two_stacks_are_their_mean():
    """As configs/official/ctdet_coco_hg.py has it: the original averages over stacks."""
    instances = make_objects(6, 3)
    outputs = [make_outputs(2, seed=seed) for seed in (3, 4)]
    plain = make_head()
    halved = make_head(
        num_stacks=2, loss_center_heatmap=dict(FOCAL, loss_weight=0.5),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.05),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=0.5))
    both = halved.loss_by_feat(outputs, instances, [{}] * 2)
    each = [plain.loss_by_feat([output], instances, [{}] * 2) for output in outputs]
    for name, value in both.items():
        torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2)


@COUNTS
def test_size_per_class(counts):
    outputs, instances = make_outputs(len(counts), 2 * CLASSES), make_objects(*counts)
    heatmap, objects, _ = targets_slowly(instances)
    check(
        make_head(wh_per_class=True), outputs, instances,
        center_heatmap=focal_slowly(outputs['heatmap'], heatmap),
        wh=0.1 * over_objects(
            objects, outputs['wh'], 'wh', channel=lambda entry, axis: 2 * entry.label + axis),
        offset=over_objects(objects, outputs['offset'], 'offset'))


@COUNTS
def test_normalised_size(counts):
    outputs, instances = make_outputs(len(counts)), make_objects(*counts)
    heatmap, objects, _ = targets_slowly(instances)
    total = 0.0
    for entry in objects:
        for axis in range(2):
            pred = float(outputs['wh'][entry.image, axis, entry.y, entry.x])
            total += abs(pred / (entry.wh[axis] + 1e-4) - 1)
    check(
        make_head(loss_wh=dict(type='mmdet_centernet.NormalizedL1Loss', loss_weight=0.1)),
        outputs, instances,
        center_heatmap=focal_slowly(outputs['heatmap'], heatmap),
        wh=0.1 * total / (2 * len(objects) + 1e-4),
        offset=over_objects(objects, outputs['offset'], 'offset'))


def dense_slowly(wh, dense, channel=lambda entry, axis: axis):
    total, weights = 0.0, 0.0
    for image, cells in enumerate(dense):
        for (y, x), (value, entry) in cells.items():
            for axis in range(2):
                pred = float(wh[image, channel(entry, axis), y, x])
                total += value * abs(pred - entry.wh[axis])
                weights += value
    return total / (weights + 1e-4)


@COUNTS
def test_dense_size(counts):
    """At each cell the size of the object with the largest Gaussian, weighted by it.

    The original compares Gaussians in two precisions, and forgets the size where the coarser
    one is larger; compared here in one.
    """
    outputs, instances = make_outputs(len(counts)), make_objects(*counts)
    heatmap, objects, dense = targets_slowly(instances)
    if counts[0] > 2:
        owners = {id(entry) for cells in dense for _, entry in cells.values()}
        assert sum(len(cells) for cells in dense) > 3 * len(objects) and len(owners) > 10
    check(
        make_head(dense_wh=True), outputs, instances,
        center_heatmap=focal_slowly(outputs['heatmap'], heatmap),
        wh=0.1 * dense_slowly(outputs['wh'], dense),
        offset=over_objects(objects, outputs['offset'], 'offset'))


def test_dense_size_per_class():
    outputs, instances = make_outputs(2, 2 * CLASSES), make_objects(9, 4)
    _, _, dense = targets_slowly(instances)
    losses = make_head(dense_wh=True, wh_per_class=True).loss_by_feat(
        [outputs], instances, [{}] * 2)
    expected = dense_slowly(
        outputs['wh'], dense, lambda entry, axis: 2 * entry.label + axis)
    assert losses['loss_wh'].item() == pytest.approx(0.1 * expected, rel=1e-5)


def test_smooth_l1():
    """The original divides this one by objects, not by channels: hence weights of 2."""
    outputs, instances = make_outputs(2), make_objects(14, 9)
    outputs['wh'][:, :, ::2] += 0.3
    heatmap, objects, _ = targets_slowly(instances)
    check(
        make_head(
            loss_wh=dict(type='mmdet.SmoothL1Loss', beta=1.0, loss_weight=0.2),
            loss_offset=dict(type='mmdet.SmoothL1Loss', beta=1.0, loss_weight=2.0)),
        outputs, instances,
        center_heatmap=focal_slowly(outputs['heatmap'], heatmap),
        wh=0.1 * over_objects(objects, outputs['wh'], 'wh', smooth_l1, divisor=1),
        offset=over_objects(objects, outputs['offset'], 'offset', smooth_l1, divisor=1))


def test_mse_of_the_heat_map():
    """Of probabilities, over the centres. (The original's option stops with an error.)"""
    outputs, instances = make_outputs(2), make_objects(6, 0)
    heatmap, objects, _ = targets_slowly(instances)
    p = 1 / (1 + torch.exp(-outputs['heatmap'].double()))
    ones = int((heatmap == 1).sum())
    check(
        make_head(loss_center_heatmap=dict(type='mmdet.MSELoss', loss_weight=1.0)),
        outputs, instances,
        center_heatmap=float(((p - heatmap) ** 2).sum()) / ones,
        wh=0.1 * over_objects(objects, outputs['wh'], 'wh'),
        offset=over_objects(objects, outputs['offset'], 'offset'))


def giou_slowly(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    union = sum((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) - both
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return both / union - (around - union) / around


@COUNTS
def test_giou_of_boxes(counts):
    outputs, instances = make_outputs(len(counts)), make_objects(*counts)
    heatmap, objects, _ = targets_slowly(instances)
    total = 0.0
    for entry in objects:
        at = entry.image, slice(None), entry.y, entry.x
        boxes = []
        for offset, wh in [
            (outputs['offset'][at].tolist(), outputs['wh'][at].tolist()),
            (entry.offset, entry.wh),
        ]:
            boxes.append([
                entry.x + offset[0] - wh[0] / 2, entry.y + offset[1] - wh[1] / 2,
                entry.x + offset[0] + wh[0] / 2, entry.y + offset[1] + wh[1] / 2])
        total += 1 - giou_slowly(*boxes)
    check(
        make_head(loss_bbox=dict(type='mmdet.GIoULoss', loss_weight=2.0)), outputs, instances,
        center_heatmap=focal_slowly(outputs['heatmap'], heatmap),
        bbox=2 * total / (len(objects) + 1e-4),
        offset=over_objects(objects, outputs['offset'], 'offset'))


def test_giou_turns_boxes_the_right_way_out():
    """Sizes below zero, as at the start of a training, must grow."""
    outputs, instances = make_outputs(1), make_objects(2)
    wh = torch.full_like(outputs['wh'], -3.0).requires_grad_()
    losses = make_head(loss_bbox=dict(type='mmdet.GIoULoss')).loss_by_feat(
        [dict(outputs, wh=wh)], instances, [{}])
    losses['loss_bbox'].backward()
    reached = wh.grad[wh.grad != 0]
    assert len(reached) == 4
    assert (reached < 0).all()


@pytest.mark.parametrize('options', [
    dict(), dict(wh_per_class=True), dict(dense_wh=True),
    dict(loss_wh=dict(type='mmdet_centernet.NormalizedL1Loss')),
    dict(loss_bbox=dict(type='mmdet.GIoULoss')),
    dict(loss_center_heatmap=dict(type='mmdet.MSELoss')),
    dict(norm_cfg=dict(type='BN')), dict(normalizer='peaks', dense_wh=True),
], ids=str)
@pytest.mark.parametrize('counts', [(0, 0), (3, 0)], ids=str)
def test_every_parameter_gets_a_gradient(options, counts):
    """Also without any object; DistributedDataParallel waits for those it does not get."""
    head = make_head(**options)
    outputs, = head([torch.randn(2, 6, HEIGHT, WIDTH)])
    losses = head.loss_by_feat(outputs, make_objects(*counts), [{}] * 2)
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert all(torch.isfinite(value) for value in losses.values())


def test_no_gradient_beyond_the_clamp():
    outputs, instances = make_outputs(1), make_objects(4)
    logits = outputs['heatmap'].requires_grad_()
    make_head().loss_by_feat([outputs], instances, [{}])['loss_center_heatmap'].backward()
    limit = math.log(1 / 1e-4 - 1)
    beyond = logits.detach().abs() > limit
    assert beyond.sum() > 10
    assert (logits.grad[beyond] == 0).all()
    assert (logits.grad[~beyond] != 0).float().mean() > 0.99


@pytest.mark.parametrize(('options', 'words'), [
    (dict(normalizer='boxes'), "normalizer = 'boxes'.*peaks"),
    (dict(loss_wh=dict(type='mmdet.L1Loss'), loss_bbox=dict(type='mmdet.GIoULoss')),
     'loss_wh=None'),
    (dict(loss_bbox=dict(type='mmdet.GIoULoss'), dense_wh=True), 'dense_wh'),
    (dict(loss_center_heatmap=dict(FOCAL, min_probability=0.5)), 'min_probability = 0.5'),
])
def test_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        make_head(**options)
