"""Encoding and decoding boxes against a loop, and against each other."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_centernet.models.task_modules import CenterNetBoxCoder
from mmdet_centernet.ops.radius import gaussian_radius

STRIDE = 4
NAN = float('nan')


def encode_slowly(bboxes, labels, shape, radius_formula, overlap, shared_cells):
    """One object after another, in float64: dense heat map, {object: (cell, wh, offset)}."""
    batch, classes, height, width = shape
    heatmap = torch.zeros(shape, dtype=torch.float64)
    objects, edge = {}, 1 if radius_formula == 'official' else 0
    number = 0
    for image in range(batch):
        for box, label in zip(bboxes[image].tolist(), labels[image].tolist()):
            x1, x2 = (min(max(v / STRIDE, 0), width - edge) for v in box[0::2])
            y1, y2 = (min(max(v / STRIDE, 0), height - edge) for v in box[1::2])
            w, h = x2 - x1, y2 - y1
            cx, cy = int((x1 + x2) / 2), int((y1 + y2) / 2)
            if w > 0 and h > 0 and cx < width and cy < height:
                sizes = [math.ceil(w), math.ceil(h)] if edge else [w, h]
                r = int(gaussian_radius(torch.tensor([sizes]), radius_formula, overlap))
                sigma = (2 * r + 1) / 6
                for y in range(max(cy - r, 0), min(cy + r + 1, height)):
                    for x in range(max(cx - r, 0), min(cx + r + 1, width)):
                        value = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                        old = float(heatmap[image, label, y, x])
                        heatmap[image, label, y, x] = max(old, value)
                objects[number] = (
                    image, cy * width + cx, (w, h),
                    ((x1 + x2) / 2 - cx, (y1 + y2) / 2 - cy))
            number += 1
    if shared_cells == 'last':
        last = {entry[:2]: number for number, entry in objects.items()}
        objects = {number: objects[number] for number in last.values()}
    return heatmap, objects


@st.composite
def batches(draw):
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    bboxes, labels = [], []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 4))
        # Quarter pixels are exact in float32, so that both sides truncate alike.
        corner = st.integers(-40, 4 * STRIDE * 14).map(lambda v: v / 4)
        boxes = [[draw(corner), draw(corner)] for _ in range(count)]
        size = st.integers(0, 4 * STRIDE * 14).map(lambda v: v / 4)
        boxes = [[x, y, x + draw(size), y + draw(size)] for x, y in boxes]
        bboxes.append(torch.tensor(boxes).view(-1, 4))
        labels.append(torch.tensor([draw(st.integers(0, 1)) for _ in range(count)]).long())
    return bboxes, labels, (len(bboxes), 2, height, width)


@settings(deadline=None, max_examples=80)
@given(batches(), st.sampled_from([('official', 0.7), ('corrected', 0.3)]),
       st.sampled_from(['last', 'all']))
def test_encode_equals_loop(batch, radius, shared_cells):
    bboxes, labels, shape = batch
    coder = CenterNetBoxCoder(STRIDE, *radius, shared_cells)
    targets = coder.encode(bboxes, labels, shape)
    heatmap, objects = encode_slowly(bboxes, labels, shape, *radius, shared_cells)
    torch.testing.assert_close(
        targets.heatmap.to_dense().double(), heatmap, rtol=1e-5, atol=1e-6)
    count = sum(len(boxes) for boxes in bboxes)
    assert targets.weight.tolist() == [float(number in objects) for number in range(count)]
    for number, (image, cell, wh, offset) in objects.items():
        assert targets.images[number] == image
        assert targets.cells[number] == cell
        assert targets.wh[number].tolist() == pytest.approx(wh, abs=1e-5)
        assert targets.offset[number].tolist() == pytest.approx(offset, abs=1e-5)


def perfect_outputs(targets, shape, sharp=12.0):
    """Network outputs that say exactly what the targets say."""
    batch, _, height, width = shape
    probability = targets.heatmap.to_dense().clamp(1e-6, 1 - 1e-6)
    heatmap = torch.logit(probability) + sharp * (probability > 0.999)
    outputs = dict(heatmap=heatmap)
    for name in ('wh', 'offset'):
        dense = torch.zeros(batch, height * width, 2)
        dense[targets.images, targets.cells] = getattr(targets, name)
        outputs[name] = dense.mT.reshape(batch, 2, height, width)
    return outputs


@pytest.mark.parametrize(('radius', 'overlap'), [('official', 0.7), ('corrected', 0.3)])
def test_decode_returns_what_was_encoded(radius, overlap):
    """Within a hundredth of a cell, for boxes inside the map that do not share cells."""
    torch.manual_seed(0)
    shape = (3, 5, 40, 56)
    bboxes, labels = [], []
    for image in range(3):
        spots = torch.randperm(35)[:8 * image]  # the first image is empty
        center = torch.stack((spots % 7 * 30 + 20, spots // 7 * 28 + 20), dim=1).float()
        center += torch.rand(len(spots), 2) * 7
        size = 4 + torch.rand(len(spots), 2) * 20
        bboxes.append(torch.cat((center - size / 2, center + size / 2), dim=1))
        labels.append(torch.randint(0, 5, (len(spots),)))
    coder = CenterNetBoxCoder(STRIDE, radius, overlap)
    decoded, scores, classes = coder.decode(
        **perfect_outputs(coder.encode(bboxes, labels, shape), shape), topk=50)
    for image in range(3):
        found = scores[image] > 0.999
        assert int(found.sum()) == len(bboxes[image])
        distance = torch.cdist(bboxes[image], decoded[image][found], p=math.inf)
        best, which = distance.min(dim=1) if len(distance) else (distance.sum(1), [])
        assert (best < 0.01 * STRIDE).all()
        assert torch.equal(classes[image][found][which], labels[image])


@pytest.mark.parametrize(
    'box', [[8, 8, 8, 20], [20, 8, 10, 16], [-30, 4, -2, 12], [200, 4, 220, 9],
            [NAN, 4, 12, 12], [4, 4, float('inf'), NAN], [62, 4, 66, 8]],
    ids=['no width', 'negative width', 'left of it', 'right of it', 'NaN', 'inf and NaN',
         'in the last pixels'])
def test_useless_boxes_teach_nothing(box):
    """Only the useful one of two is drawn; nothing becomes NaN."""
    coder = CenterNetBoxCoder()
    targets = coder.encode(
        [torch.tensor([box, [4.0, 4, 20, 16]])], [torch.tensor([0, 1])], (1, 2, 8, 16))
    dense = targets.heatmap.to_dense()
    expected = 1.0 if box == [62, 4, 66, 8] else 0.0
    assert targets.weight.tolist() == [expected, 1.0]
    assert (dense[0, 0].max() == 1) == bool(expected)
    assert dense[0, 1].max() == 1
    for tensor in (dense, targets.wh, targets.offset):
        assert torch.isfinite(tensor).all()


def test_center_on_the_far_edge_is_outside_the_map():
    """A box of zero visible width at the right edge has no cell."""
    targets = CenterNetBoxCoder().encode(
        [torch.tensor([[64.0, 0, 80, 8]])], [torch.tensor([0])], (1, 1, 4, 16))
    assert targets.weight.tolist() == [0]
    assert targets.heatmap.num_peaks() == 0


def test_label_that_is_no_class_teaches_nothing():
    targets = CenterNetBoxCoder().encode(
        [torch.tensor([[4.0, 4, 20, 16]] * 2)], [torch.tensor([2, -1])], (1, 2, 8, 16))
    assert targets.weight.tolist() == [0, 0]
    assert targets.heatmap.to_dense().max() == 0


def test_batch_without_objects():
    targets = CenterNetBoxCoder().encode(
        [torch.zeros(0, 4)] * 2, [torch.zeros(0).long()] * 2, (2, 3, 4, 5))
    assert len(targets.wh) == len(targets.weight) == 0
    assert targets.heatmap.to_dense().shape == (2, 3, 4, 5)
    assert targets.heatmap.num_peaks() == 0


def test_bound_of_the_radius_holds():
    """No box in the map has a larger radius than the bound that GPUs use."""
    for radius, overlap in (('official', 0.7), ('corrected', 0.3)):
        coder = CenterNetBoxCoder(STRIDE, radius, overlap)
        objects = coder.locate([torch.zeros(0, 4)], [torch.zeros(0)], (1, 1, 9, 13))
        objects = objects._replace(radius=objects.radius.to('meta'))
        bound = coder.radius_bound(objects, (1, 1, 9, 13))
        sizes = torch.cartesian_prod(torch.arange(1, 14.0), torch.arange(1, 10.0))
        assert gaussian_radius(sizes, radius, overlap).floor().max() <= bound


@pytest.mark.parametrize(
    ('settings_', 'words'),
    [(dict(radius='mmdet'), 'radius'), (dict(shared_cells='first'), 'shared_cells'),
     (dict(stride=0), 'stride')])
def test_bad_settings(settings_, words):
    with pytest.raises(ValueError, match=words):
        CenterNetBoxCoder(**settings_)


def test_lists_must_fit_the_batch():
    with pytest.raises(ValueError, match='batch of 2 images'):
        CenterNetBoxCoder().encode([torch.zeros(0, 4)], [torch.zeros(0)], (2, 1, 4, 4))
