"""Boxes by distances to their sides: CenterNet* against MMDetection, TTFNet against loops."""
import math

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import CenterNetUpdateHead
from mmengine.structures import InstanceData

from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import LTRB

STRIDE, HEIGHT, WIDTH, CLASSES = 4, 17, 23, 3
SHAPE = (2, CLASSES, HEIGHT, WIDTH)
METAS = [dict(img_path='a.png'), dict(img_path='b.png')]


def make_instances(seed, counts=(9, 4)):
    """Boxes of 3 to 60 px inside the image, some of them thinner than a cell."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([WIDTH * STRIDE, HEIGHT * STRIDE])
    result = []
    for count in counts:
        center = torch.rand(count, 2, generator=generator) * size
        half = torch.exp(torch.rand(count, 2, generator=generator) * 3) * 1.5
        low = (center - half).clamp(min=0)
        bboxes = torch.cat((low, torch.minimum(center + half, size)), dim=1)
        result.append(InstanceData(
            bboxes=bboxes, labels=torch.randint(0, CLASSES, (count,), generator=generator)))
    return result


def make_head(coder=None, loss=None, **options):
    head = CenterHead(
        CLASSES, 4, 4, properties=[LTRB(**options)], coder=dict(stride=STRIDE, **(coder or {})),
        loss_center_heatmap=dict(type='mmdet_centernet.GaussianFocalLoss', **(loss or {})))
    head.init_weights()
    return head


def make_output(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return dict(heatmap=torch.randn(SHAPE, generator=generator),
                ltrb=torch.rand(2, 4, HEIGHT, WIDTH, generator=generator) * 5 - 0.5)


def centernet_star(threshold):
    ours = make_head(dict(heatmap='area', min_overlap=0.8, min_radius=4),
                     dict(pos_weight=0.25, neg_weight=0.75, min_probability=1e-4),
                     more_pos=threshold)
    theirs = CenterNetUpdateHead(
        CLASSES, 4, regress_ranges=((0, 1e9),), strides=[STRIDE], stacked_convs=1,
        feat_channels=4, more_pos_thresh=threshold, norm_cfg=dict(type='GN', num_groups=2),
        loss_bbox=dict(type='GIoULoss', loss_weight=1.0))
    return ours, theirs


@pytest.mark.parametrize('seed', range(6))
def test_targets_equal_those_of_mmdets_centernet_star(seed):
    ours, theirs = centernet_star(0.2)
    instances = make_instances(seed)
    targets = ours.encode(instances, METAS, SHAPE)
    points = theirs.prior_generator.grid_priors([(HEIGHT, WIDTH)], device='cpu')
    heatmap, boxes = theirs.get_targets(points, instances)
    heatmap = heatmap.view(2, HEIGHT, WIDTH, CLASSES).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        targets['heatmap'].heatmap.to_dense(), heatmap, atol=1e-6, rtol=1e-5)
    target = targets['ltrb']
    trained = target.weight > 0
    place = (target.images * HEIGHT * WIDTH + target.cells)[trained]
    assert len(place.unique()) == len(place)
    expected = (boxes.amax(dim=1) >= 0).nonzero().flatten()
    assert sorted(place.tolist()) == expected.tolist()
    sides = ours.branches['ltrb'].to_output(target.values[trained])
    torch.testing.assert_close(sides, boxes[place], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('threshold', [0.2, 0.9, 1.5])
@pytest.mark.parametrize('seed', range(3))
def test_losses_and_gradients_equal_those_of_mmdets_centernet_star(seed, threshold):
    ours, theirs = centernet_star(threshold)
    instances = make_instances(seed)
    one, two = ({name: values.clone().requires_grad_() for name, values in make_output().items()}
                for _ in range(2))
    losses = ours.loss_by_feat([one], instances, METAS)
    expected = theirs.loss_by_feat(
        [two['heatmap']], [two['ltrb'].clamp(min=0)], instances, METAS)
    torch.testing.assert_close(losses['loss_center_heatmap'], expected['loss_cls'])
    torch.testing.assert_close(losses['loss_ltrb'], expected['loss_bbox'])
    for each in (losses, expected):
        sum(each.values()).backward()
    for name in one:
        torch.testing.assert_close(one[name].grad, two[name].grad, atol=1e-7, rtol=1e-4)


def test_more_positives_are_listed_twice_and_without_the_worst_of_nine():
    head = make_head(dict(heatmap='area'), more_pos=0.5)
    box = torch.tensor([[20.0, 20.0, 44.0, 44.0]])  # center in the middle of cell (8, 8)
    instances = [InstanceData(bboxes=box.repeat(2, 1), labels=torch.tensor([1, 1])),
                 InstanceData(bboxes=box[:0], labels=torch.zeros(0, dtype=torch.long))]
    output = make_output()
    y, x = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5,
                          indexing='ij')
    output['ltrb'] = torch.stack((x - 5, y - 5, 11 - x, 11 - y)).expand(2, -1, -1, -1).clone()
    output['ltrb'][:, 0, 7, 7] -= 0.5
    centers, targets = head._encode(instances, METAS, SHAPE, None)
    target = head._add_positives(targets['heatmap'], output, centers)
    counted = target.positives.positions[target.positives.weight > 0]
    assert float(target.count) == len(counted) == 16
    places = {tuple(np.unravel_index(place, SHAPE)) for place in counted.tolist()}
    assert places == {(0, 1, y, x) for y in (7, 8, 9) for x in (7, 8, 9)} - {(0, 1, 7, 7)}


def ttfnet_slowly(instances, alpha=0.54):
    """TTFNet's targets: painted from the largest to the smallest, in float64."""
    heatmap = np.zeros(SHAPE)
    boxes = np.zeros((2, HEIGHT, WIDTH, 4))
    weights = np.zeros((2, HEIGHT, WIDTH))
    for image, each in enumerate(instances):
        limit = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
        scaled = np.clip(each.bboxes.double().numpy() / STRIDE, 0, limit)
        order = sorted(range(len(scaled)), key=lambda i: -np.prod(scaled[i, 2:] - scaled[i, :2]))
        for i in order:
            left, top, right, bottom = scaled[i]
            x0, y0 = int((left + right) / 2), int((top + bottom) / 2)
            radius = [int((right - left) / 2 * alpha), int((bottom - top) / 2 * alpha)]
            cells = {}
            for y in range(max(0, y0 - radius[1]), min(HEIGHT, y0 + radius[1] + 1)):
                for x in range(max(0, x0 - radius[0]), min(WIDTH, x0 + radius[0] + 1)):
                    sx, sy = ((2 * r + 1) / 6 for r in radius)
                    cells[y, x] = math.exp(
                        -(x - x0) ** 2 / (2 * sx**2) - (y - y0) ** 2 / (2 * sy**2))
            area = ((right - left) * STRIDE + 1) * ((bottom - top) * STRIDE + 1)
            for (y, x), value in cells.items():
                label = int(each.labels[i])
                heatmap[image, label, y, x] = max(heatmap[image, label, y, x], value)
                boxes[image, y, x] = left - x, top - y, right - x, bottom - y
                weights[image, y, x] = value / sum(cells.values()) * math.log(area)
    return heatmap, boxes, weights


@pytest.mark.parametrize('counts', [(9, 4), (1, 0), (0, 0)])
def test_targets_and_loss_equal_ttfnets_by_loops(counts):
    head = make_head(dict(heatmap='sides'), cells='gaussian', log_area=True, base='corner',
                     factor=4, init_distance=0, learn_scale=False,
                     loss_bbox=dict(type='mmdet.GIoULoss', loss_weight=5.0))
    instances = make_instances(3, counts)
    heatmap, boxes, weights = ttfnet_slowly(instances)
    targets = head.encode(instances, METAS, SHAPE)
    np.testing.assert_allclose(targets['heatmap'].heatmap.to_dense(), heatmap, atol=1e-6)
    target = targets['ltrb']
    dense = torch.zeros(2, HEIGHT * WIDTH).index_put_(
        (target.images, target.cells), target.weight, accumulate=True)
    np.testing.assert_allclose(dense.view(2, HEIGHT, WIDTH), weights, rtol=1e-4, atol=1e-6)
    kept = target.weight > 0
    image, cells = target.images[kept].numpy(), target.cells[kept].numpy()
    np.testing.assert_allclose(
        target.values[kept], boxes[image, cells // WIDTH, cells % WIDTH], rtol=1e-4, atol=1e-4)

    output = make_output()
    loss = head.loss_by_feat([output], instances, METAS)['loss_ltrb']
    total = 0.0
    for image, y, x in zip(*np.nonzero(weights)):
        sides = np.maximum(output['ltrb'][image, :, y, x].double().numpy(), 0) * 4
        found = np.array([-sides[0], -sides[1], sides[2], sides[3]])
        total += weights[image, y, x] * (1 - giou_slowly(found, boxes[image, y, x]))
    assert float(loss) == pytest.approx(5 * total / (max(weights.sum(), 1) + 1e-4), rel=1e-4)


def giou_slowly(one, two):
    """GIoU of two boxes, xyxy."""
    inner = np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2])
    inner = float(np.prod(np.maximum(inner, 0)))
    union = float(np.prod(one[2:] - one[:2]) + np.prod(two[2:] - two[:2])) - inner
    hull = float(np.prod(np.maximum(one[2:], two[2:]) - np.minimum(one[:2], two[:2])))
    return inner / union - (hull - union) / hull


@pytest.mark.parametrize('options', [
    dict(cells='center'), dict(cells='3x3'), dict(cells='gaussian', base='corner'),
    dict(cells='center', base='corner', factor=4), dict(activation='exp'),
    dict(activation='exp', factor=4)])
def test_decoding_what_was_encoded_gives_the_boxes(options):
    head = make_head(**options)
    box = torch.tensor([[13.0, 6.5, 50.25, 60.0]])
    instances = [InstanceData(bboxes=box, labels=torch.tensor([2])) for _ in METAS]
    target = head.encode(instances, METAS, SHAPE)['ltrb']
    output = dict(heatmap=torch.full(SHAPE, -9.0), ltrb=torch.zeros(2, 4, HEIGHT, WIDTH))
    sides = head.branches['ltrb'].to_output(target.values)
    for image, cell, value in zip(target.images, target.cells, sides):
        output['ltrb'].view(2, 4, -1)[image, :, cell] = value
        output['heatmap'].view(2, CLASSES, -1)[image, 2, cell] = 3.0
    head.test_cfg = dict(topk=int(len(sides) / 2), local_maximum_kernel=1)
    found = head.decode(output)['bboxes']
    torch.testing.assert_close(found, box.expand_as(found), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize('options', [
    dict(base='corner'), dict(base='middle'), dict(activation='exp')])
def test_outputs_of_flipped_images_are_mapped_back(options):
    """The boxes of a flipped image, flipped, are those that the mapped outputs decode to."""
    prop = LTRB(factor=2.0, **options)
    branch = prop.branches['ltrb']
    output = torch.rand(1, 4, 3, 5) + 1
    mapped = branch.flip(output)
    x = torch.arange(5) + prop.base
    boxes, flipped = (branch.to_value(each.movedim(1, -1)) for each in (mapped, output))
    left, right = flipped[..., 0] + x, flipped[..., 2] + x
    torch.testing.assert_close(boxes[..., 0] + x, (5 - right).flip(-1))
    torch.testing.assert_close(boxes[..., 2] + x, (5 - left).flip(-1))
    torch.testing.assert_close(boxes[..., 1], flipped[..., 1].flip(-1))
    output = output.movedim(1, -1)
    again = branch.to_output(branch.to_value(output))
    if prop.activation == 'relu':
        assert torch.equal(again, output)
    torch.testing.assert_close(again, output)


@pytest.mark.parametrize('options', [
    {}, dict(factor=4), dict(activation='exp'), dict(activation='exp', factor=4)])
def test_initial_boxes_have_the_size_that_is_asked_for(options):
    head = make_head(init_distance=8.0, **options)
    output = head([torch.zeros(1, 4, 6, 7)])[0][0]
    boxes = head.branches['ltrb'].to_value(output['ltrb'].movedim(1, -1))
    expected = torch.tensor([-8.0, -8, 8, 8]).expand(1, 6, 7, 4)
    if 'activation' not in options:
        assert torch.equal(boxes, expected)
        assert (output['ltrb'] == 8.0 / options.get('factor', 1)).all()
    torch.testing.assert_close(boxes, expected)
    assert 'stacks.0.ltrb.3.scale' in head.state_dict()


def test_large_outputs_of_an_exponential_stay_finite_in_half_precision():
    to_boxes = LTRB(activation='exp').branches['ltrb'].to_value
    boxes = to_boxes(torch.full((1, 4), 60.0, dtype=torch.float16)) * 32
    assert torch.isfinite(boxes).all()


@pytest.mark.parametrize(('options', 'words'), [
    (dict(cells='5x5'), "cells = '5x5'"), (dict(base='edge'), "base = 'edge'"),
    (dict(log_area=True), "log_area needs cells='gaussian'"), (dict(factor=0), 'factor = 0'),
    (dict(more_pos=3), 'more_pos = 3'), (dict(activation='gelu'), "activation = 'gelu'"),
    (dict(activation='exp', base='corner'), "needs base='middle'"),
    (dict(activation='exp', init_distance=0), 'an init_distance above 0')])
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        LTRB(**options)


def test_more_positives_need_a_loss_that_takes_them():
    head = CenterHead(
        CLASSES, 4, 4, properties=[LTRB(more_pos=0.2)], coder=dict(stride=STRIDE),
        loss_center_heatmap=dict(type='mmdet.GaussianFocalLoss'))
    with pytest.raises(ValueError, match='more positives of the heatmap'):
        head.loss_by_feat([make_output()], make_instances(0), METAS)


@pytest.mark.parametrize('loss', ['GIoU', 'DIoU', 'CIoU', 'EIoU', 'SIoU'])
def test_all_of_mmdets_iou_losses_fit_boxes(loss):
    """Gradient descent on the outputs finds the box."""
    head = make_head(cells='center', loss_bbox=dict(type=f'mmdet.{loss}Loss', loss_weight=1.0))
    instances = [InstanceData(bboxes=torch.tensor([[8.0, 12.0, 60.0, 44.0]]),
                              labels=torch.tensor([0]))] * 2
    output = dict(heatmap=torch.zeros(SHAPE), ltrb=torch.full((2, 4, HEIGHT, WIDTH), 8.0))
    output['ltrb'].requires_grad_()
    optimizer = torch.optim.Adam([output['ltrb']], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        value = head.loss_by_feat([output], instances, METAS)['loss_ltrb']
        value.backward()
        optimizer.step()
    assert float(value) < 0.05
    cell = 7 * WIDTH + 8  # the center is (34, 28) px
    found = output['ltrb'].view(2, 4, -1)[0, :, cell].tolist()
    assert found == pytest.approx([26 / 4, 18 / 4, 26 / 4, 14 / 4], abs=0.3)
