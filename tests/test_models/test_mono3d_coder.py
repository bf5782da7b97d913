"""Encoding and decoding 3D boxes against the original's procedure, and against each other."""
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mono3d_reference import IGNORED, IGNORED_FOR, STRIDE, decode_slowly, sample_slowly
from test_ops.camera_reference import angle_between, corners_slowly, project_slowly

from mmdet_centernet.datasets.transforms import CenterAffine3D, PackMono3DInputs
from mmdet_centernet.models.task_modules import CenterNetMono3DCoder

CLASSES = 3
#: The least and the largest height, width and length of each class.
SIZES = [((1.5, 0.4, 0.4), (2.0, 0.9, 1.2)), ((1.3, 1.4, 3.0), (2.4, 2.1, 6.5)),
         ((1.5, 0.4, 1.2), (1.9, 0.8, 2.0))]


def make_camera(rng, width, height):
    """Like KITTI's: its last column is not zero."""
    focal = rng.uniform(0.4, 0.8) * width
    return np.array([
        [focal, 0, width * rng.uniform(0.45, 0.55), rng.uniform(-60, 60)],
        [0, focal * rng.uniform(0.98, 1.02), height * rng.uniform(0.4, 0.6), rng.uniform(-1, 1)],
        [0, 0, 1, rng.uniform(-0.006, 0.006)]])


def wrapped(angle):
    return (angle + math.pi) % (2 * math.pi) - math.pi


def make_object(rng, camera, seen, depth, around=None, kind=None):
    """An object whose centre is seen at a pixel.

    Its 2D box is ``around`` (width, height) that pixel, px, or the one around its corners.
    """
    label = int(rng.integers(CLASSES)) if kind is None else kind
    low, high = SIZES[label if isinstance(label, int) else 1]
    dims = rng.uniform(low, high)
    w = depth + camera[2, 3]
    x = (seen[0] * w - camera[0, 2] * depth - camera[0, 3]) / camera[0, 0]
    y = (seen[1] * w - camera[1, 2] * depth - camera[1, 3]) / camera[1, 1]
    turn = rng.uniform(-math.pi, math.pi)
    box = (x, y + dims[0] / 2, depth, *dims, turn)
    if around is None:
        us, vs = zip(*(project_slowly(point, camera) for point in corners_slowly(box)))
        bbox = min(us), min(vs), max(us), max(vs)
    else:
        bbox = (seen[0] - around[0] / 2, seen[1] - around[1] / 2,
                seen[0] + around[0] / 2, seen[1] + around[1] / 2)
    alpha = wrapped(turn - math.atan2(seen[0] - camera[0, 2], camera[0, 0]))
    return SimpleNamespace(type=label, bbox=bbox, bbox_3d=box, alpha=alpha)


def make_scene(rng, width, height, count, ignored=True):
    """A camera and objects at random in and around its image, some of other types."""
    camera = make_camera(rng, width, height)
    objects = []
    for number in range(count):
        seen, depth = rng.uniform(0, 1, 2) * (width, height), rng.uniform(5, 60)
        kind = str(rng.choice(list(IGNORED_FOR))) if ignored and number % 2 else None
        around = rng.uniform(0.02, 0.4, 2) * (width, height) if number % 3 else None
        objects.append(make_object(rng, camera, seen, depth, around, kind))
        objects[-1].alpha = rng.uniform(-math.pi, math.pi)
    return camera, objects


def tensors(objects):
    """bboxes, labels, bboxes_3d, alphas of the objects of a class; bboxes and labels of those
    to be ignored."""
    learnt = [each for each in objects if not isinstance(each.type, str)]
    ignored = [each for each in objects
               if isinstance(each.type, str) and IGNORED_FOR[each.type] is not None]

    def table(rows, columns):
        return torch.tensor(rows, dtype=torch.float32).view(-1, columns)

    return (table([each.bbox for each in learnt], 4),
            torch.tensor([each.type for each in learnt], dtype=torch.int64),
            table([each.bbox_3d for each in learnt], 7),
            torch.tensor([each.alpha for each in learnt]),
            table([each.bbox for each in ignored], 4),
            torch.tensor([IGNORED_FOR[each.type] for each in ignored], dtype=torch.int64))


def encode(coder, scenes, shape, augmented=None):
    """Targets of scenes (camera, objects) whose image is the network's input."""
    *known, boxes, labels = zip(*(tensors(objects) for _, objects in scenes))
    cameras = torch.from_numpy(np.stack([camera for camera, _ in scenes]))
    return coder.encode(*known, cameras, shape, boxes, labels, augmented)


def perfect_outputs(targets, shape):
    """Network outputs that say exactly what the targets say; depths, dims and angles too."""
    batch, _, height, width = shape
    boxes, angles = targets.boxes, targets.orientation

    def filled(values):
        dense = torch.zeros(batch, height * width, values.shape[-1])
        dense[boxes.images, boxes.cells] = values.float()
        return dense.mT.reshape(batch, -1, height, width)

    inside = angles.inside.float() * 8 - 4
    bins = torch.stack((-inside, inside, *angles.sin_cos.unbind(dim=-1)), dim=-1)
    return dict(
        heatmap=torch.logit(boxes.heatmap.to_dense().clamp(1e-6, 1 - 1e-6)),
        depth=filled(-targets.depth[:, None].log()), dims=filled(targets.dims),
        orientation=filled(bins.flatten(1)), wh=filled(boxes.wh), offset=filled(boxes.offset),
        location_offset=filled(targets.location_offset))


def scattered(rng, width, height, count, margin):
    """Places (px) in an image whose cells are two apart at least."""
    places = []
    while len(places) < count:
        place = rng.uniform(margin, 1 - margin, 2) * (width, height)
        if all(max(abs(place - other)) > 2 * STRIDE for other in places):
            places.append(place)
    return places


@pytest.mark.parametrize('true_boxes', [False, True], ids=['centred boxes', 'true boxes'])
def test_decode_returns_every_box(true_boxes):
    """1000 objects of 50 cameras: location within 1 mm and rotation_y within 1e-4.

    In the original's way the 2D box must be around the projected centre; with a branch that
    tells where that centre is it is the extent of the projected corners.
    """
    rng = np.random.default_rng(0)
    height, width = 52, 160
    shape = (50, CLASSES, height, width)
    scenes = []
    for _ in range(shape[0]):
        camera = make_camera(rng, STRIDE * width, STRIDE * height)
        objects = []
        places = scattered(rng, STRIDE * width, STRIDE * height, 60 if true_boxes else 20, 0.25)
        for place in places:
            around = None if true_boxes else rng.uniform(0.02, 0.2, 2) * (
                STRIDE * width, STRIDE * height)
            each = make_object(
                rng, camera, place, rng.uniform(12 if true_boxes else 3, 80), around)
            x1, y1, x2, y2 = each.bbox
            # A box that the map's border cuts has another centre, and a cell has one object.
            cell = (x1 + x2) // (2 * STRIDE), (y1 + y2) // (2 * STRIDE)
            inside = x1 > 0 and y1 > 0 and x2 < STRIDE * (width - 1) and (
                y2 < STRIDE * (height - 1))
            if inside and all(cell != other.cell for other in objects) and len(objects) < 20:
                each.cell = cell
                objects.append(each)
        assert len(objects) == 20
        scenes.append((camera, objects))
    coder = CenterNetMono3DCoder(STRIDE)
    targets = encode(coder, scenes, shape)
    assert targets.boxes.weight.sum() == 1000
    outputs = perfect_outputs(targets, shape)
    if not true_boxes:
        del outputs['location_offset']
    cameras = torch.from_numpy(np.stack([camera for camera, _ in scenes]))
    decoded = coder.decode(**outputs, cam2img=cameras)
    worst = dict(location=0.0, rotation_y=0.0, alpha=0.0, dims=0.0, bbox=0.0)
    for image, (_, objects) in enumerate(scenes):
        found = decoded.scores[image] > 0.99
        assert int(found.sum()) == len(objects)
        boxes = decoded.bboxes[image][found].double()
        for each in objects:
            index = (boxes - torch.tensor(each.bbox)).abs().amax(dim=1).argmin()
            box = decoded.bboxes_3d[image][found][index].double()
            wanted = torch.tensor(each.bbox_3d, dtype=torch.float64)
            assert decoded.labels[image][found][index] == each.type
            assert decoded.depth[image][found][index] == box[2]
            for name, error in (
                ('location', (box - wanted)[:3].norm()), ('dims', (box - wanted)[3:6].abs().max()),
                ('rotation_y', angle_between(box[6].item(), wanted[6].item())),
                ('alpha', angle_between(decoded.alpha[image][found][index].item(), each.alpha)),
                ('bbox', (boxes[index] - torch.tensor(each.bbox)).abs().max())):
                worst[name] = max(worst[name], float(error))
    assert worst['location'] < 1e-3, worst
    assert max(worst['rotation_y'], worst['alpha'], worst['dims']) < 1e-4, worst
    assert worst['bbox'] < 0.01, worst
    for angles in (decoded.alpha, decoded.bboxes_3d[..., 6]):
        assert angles.min() >= -math.pi and angles.max() < math.pi


def entries(targets, image, width):
    """Objects of an image as the reference has them, those that are learnt."""
    boxes, angles = targets.boxes, targets.orientation
    found = []
    for n in (boxes.images == image).nonzero().flatten().tolist():
        if boxes.weight[n]:
            cell = int(boxes.cells[n])
            found.append((
                int(boxes.labels[n]), (cell % width, cell // width), boxes.wh[n].tolist(),
                boxes.offset[n].tolist(), float(targets.depth[n]), targets.dims[n].tolist(),
                angles.inside[n].tolist(), angles.sin_cos[n].tolist(),
                targets.location_offset[n].tolist(), float(targets.metric_weight[n])))
        else:
            assert targets.metric_weight[n] == 0
    return found


def flat(value):
    return [value] if np.isscalar(value) else [x for part in value for x in flat(part)]


def assert_equals(targets, image, expected, region, width):
    """``targets`` of an image against the reference's."""
    heatmap = targets.boxes.heatmap.to_dense()[image].double().numpy()
    if region:
        wiped = expected.heatmap == IGNORED
        if targets.ignored is None:
            assert not wiped.any()
        else:
            assert np.array_equal(targets.ignored[image].numpy(), wiped)
        np.testing.assert_allclose(heatmap[~wiped], expected.heatmap[~wiped], atol=1e-5)
    else:
        assert targets.ignored is None
        np.testing.assert_allclose(heatmap, expected.heatmap, atol=1e-5)
    found = entries(targets, image, width)
    assert len(found) == len(expected.entries)
    for one, other in zip(found, expected.entries):
        assert flat(one) == pytest.approx(flat(other), abs=1e-3, rel=1e-5)


@pytest.mark.parametrize('region', [False, True], ids=['center', 'region'])
def test_sampling_equals_the_originals(region):
    """50 scenes through our transform and coder, half of them scaled and shifted at random, of
    images of different sizes."""
    out_width, out_height = 208, 64
    width, height = out_width // STRIDE, out_height // STRIDE
    rng = np.random.default_rng(1)
    transform = CenterAffine3D(size=(out_width, out_height), aug_prob=0.5)
    pack, samples, references = PackMono3DInputs(), [], []
    seen = dict(augmented=0, plain=0, objects=0, ignored=0)
    np.random.seed(2)
    for _ in range(50):
        image_width, image_height = int(rng.integers(150, 400)), int(rng.integers(60, 120))
        camera, objects = make_scene(rng, image_width, image_height, int(rng.integers(0, 9)))
        boxes, labels, boxes_3d, alphas, ignored_boxes, ignored_labels = tensors(objects)
        state = np.random.get_state()
        # The original's draws: whether, then the scale, then the shift in x and y.
        augmented, scale, shift = np.random.random() < 0.5, 1.0, np.zeros(2)
        if augmented:
            scale = np.clip(np.random.randn() * 0.4 + 1, 0.6, 1.4)
            shift = np.array([side * np.clip(np.random.randn() * 0.1, -0.2, 0.2)
                              for side in (image_width, image_height)])
        np.random.set_state(state)
        zoom = width / (image_width * scale)
        middle = np.array([image_width, image_height]) / 2 + shift
        matrix = np.array([[zoom, 0, width / 2 - zoom * middle[0]],
                           [0, zoom, height / 2 - zoom * middle[1]]])
        count = len(labels)
        packed = pack(transform(dict(
            img=np.zeros((image_height, image_width, 3), np.uint8), cam2img=camera,
            ori_shape=(image_height, image_width), img_id='7', img_path='made.png',
            gt_bboxes=HorizontalBoxes(torch.cat((boxes, ignored_boxes))),
            gt_bboxes_labels=torch.cat((labels, ignored_labels)).numpy(),
            gt_bboxes_3d=torch.cat((boxes_3d, torch.ones(len(ignored_labels), 7))).numpy(),
            gt_alpha=torch.cat((alphas, torch.zeros(len(ignored_labels)))).numpy(),
            gt_ignore_flags=np.arange(count + len(ignored_labels)) >= count)))
        sample = packed['data_samples']
        assert bool(sample.augmented) == augmented
        samples.append(sample)
        references.append(sample_slowly(
            objects, (CLASSES, height, width), matrix, camera, region, augmented))
        seen['augmented' if augmented else 'plain'] += 1
        seen['objects'] += len(references[-1].entries)
        seen['ignored'] += len(sample.ignored_instances)
    assert all(number >= 15 for number in seen.values()), seen
    targets = CenterNetMono3DCoder(STRIDE, ignore='region' if region else 'center').encode(
        [sample.gt_instances.bboxes.tensor for sample in samples],
        *([getattr(sample.gt_instances, name) for sample in samples]
          for name in ('labels', 'bboxes_3d', 'alpha')),
        torch.from_numpy(np.stack([sample.cam2img for sample in samples])),
        (len(samples), CLASSES, height, width),
        [sample.ignored_instances.bboxes.tensor for sample in samples],
        [sample.ignored_instances.labels for sample in samples],
        [sample.augmented for sample in samples])
    for image, expected in enumerate(references):
        assert_equals(targets, image, expected, region, width)


@pytest.mark.parametrize('region', [False, True], ids=['center', 'region'])
def test_encode_equals_loop(region):
    """Crowded maps, wide and high, with objects that cover and hide each other."""
    rng = np.random.default_rng(3)
    coder = CenterNetMono3DCoder(STRIDE, ignore='region' if region else 'center')
    matrix = np.array([[1 / STRIDE, 0, 0], [0, 1 / STRIDE, 0]])
    for height, width in ((9, 27), (22, 8)):
        shape = (4, CLASSES, height, width)
        scenes = [make_scene(rng, STRIDE * width, STRIDE * height, count)
                  for count in (25, 0, 1, 8)]
        augmented = [True, False, False, False]
        targets = encode(coder, scenes, shape, augmented)
        for image, (camera, objects) in enumerate(scenes):
            assert_equals(targets, image, sample_slowly(
                objects, shape[1:], matrix, camera, region, augmented[image]), region, width)


def box_at(x, y, w, h, kind):
    return SimpleNamespace(
        type=kind, bbox=(x - w / 2, y - h / 2, x + w / 2, y + h / 2),
        bbox_3d=(1.0, 2.0, 20.0, 1.5, 1.6, 4.0, 0.5), alpha=0.4)


CAMERA = np.array([[100.0, 0, 48, 5], [0, 100, 24, 0.2], [0, 0, 1, 0.003]])


@pytest.mark.parametrize('order', [1, -1], ids=['object first', 'object last'])
@pytest.mark.parametrize('region', [False, True], ids=['center', 'region'])
def test_a_centre_where_something_is_ignored_is_learnt(region, order):
    """In the original a later box to be ignored wipes it out; a centre of another class is
    ignored as any cell."""
    objects = [box_at(50, 30, 20, 16, 1), box_at(50, 30, 40, 30, 'DontCare')][::order]
    coder = CenterNetMono3DCoder(STRIDE, ignore='region' if region else 'center')
    targets = encode(coder, [(CAMERA, objects)], (1, CLASSES, 12, 24))
    heatmap = targets.boxes.heatmap.to_dense()[0]
    assert targets.boxes.heatmap.num_peaks() == 1
    assert heatmap[1, 7, 12] == 1
    assert targets.boxes.weight.tolist() == targets.metric_weight.tolist() == [1]
    if region:
        assert not targets.ignored[0, 1, 7, 12]
        assert targets.ignored[0, 0, 7, 12] and targets.ignored[0, 2, 7, 12]
        assert targets.ignored[0, 1].sum() + 1 == targets.ignored[0, 0].sum() == 11 * 9
    else:
        assert heatmap[0, 7, 12] == heatmap[2, 7, 12] == pytest.approx(IGNORED)


def test_neighbours_are_ignored_for_their_own_class():
    kinds = dict(Van=[1], Truck=[1], Person_sitting=[0], DontCare=[0, 1, 2])
    for kind, classes in kinds.items():
        scene = CAMERA, [box_at(50, 30, 20, 16, kind)]
        center = encode(CenterNetMono3DCoder(STRIDE), [scene], (1, CLASSES, 12, 24))
        heatmap = center.boxes.heatmap.to_dense()[0]
        assert heatmap.amax(dim=(1, 2)).nonzero().flatten().tolist() == classes
        assert center.boxes.heatmap.num_peaks() == 0
        region = encode(
            CenterNetMono3DCoder(STRIDE, ignore='region'), [scene], (1, CLASSES, 12, 24))
        assert region.ignored.any(dim=(0, 2, 3)).nonzero().flatten().tolist() == classes
        assert not region.boxes.heatmap.to_dense().any()


def test_regions_at_the_border():
    """Of boxes that reach over the map's far edge, whose last cells are ignored too."""
    scene = CAMERA, [box_at(90, 40, 40, 30, 'DontCare'), box_at(0, 0, 10, 12, 'Van')]
    for radius, overlap in (('official', 0.7), ('corrected', 0.3)):
        coder = CenterNetMono3DCoder(
            STRIDE, radius=radius, min_overlap=overlap, ignore='region')
        ignored = encode(coder, [scene], (1, CLASSES, 12, 24)).ignored[0]
        wanted = torch.zeros(CLASSES, 12, 24, dtype=torch.bool)
        wanted[:, 6:, 17:] = True
        wanted[1, :2, :2] = True
        assert torch.equal(ignored, wanted)


def test_rows_to_be_ignored_for_no_class_change_nothing():
    """Labels that are none, and boxes that are no numbers or outside."""
    scene = CAMERA, [box_at(50, 30, 20, 16, 1)]
    nan = float('nan')
    boxes = torch.tensor([[40.0, 20, 60, 40], [40, 20, 60, 40], [nan, 20, 60, 40],
                          [40, 20, 40, 40], [-90, 10, -50, 40], [200, 10, 300, 40]])
    labels = torch.tensor([CLASSES, -2, -1, -1, -1, 1])
    for ignore in ('center', 'region'):
        coder = CenterNetMono3DCoder(STRIDE, ignore=ignore)
        plain = encode(coder, [scene], (1, CLASSES, 12, 24))
        *known, _, _ = tensors(scene[1])
        targets = coder.encode(
            *([each] for each in known), torch.from_numpy(CAMERA)[None], (1, CLASSES, 12, 24),
            [boxes], [labels])
        assert torch.equal(
            targets.boxes.heatmap.to_dense(), plain.boxes.heatmap.to_dense())
        assert targets.ignored is None or not targets.ignored.any()


def test_what_is_no_number_teaches_nothing():
    """The place of an object may be NaN, and of such an object everything may be."""
    nan = float('nan')
    objects = [box_at(50, 30, 20, 16, 1), box_at(nan, 30, 20, 16, 0), box_at(30, 20, 9, 8, 2)]
    objects[1].bbox_3d, objects[1].alpha = (nan, ) * 7, nan
    targets = encode(CenterNetMono3DCoder(STRIDE), [(CAMERA, objects)], (1, CLASSES, 12, 24))
    assert targets.boxes.weight.tolist() == targets.metric_weight.tolist() == [1, 0, 1]
    assert targets.boxes.heatmap.num_peaks() == 2
    assert all(torch.isfinite(value).all() for value in (
        targets.boxes.wh, targets.boxes.offset, targets.boxes.heatmap.value, targets.depth,
        targets.dims, targets.orientation.sin_cos, targets.location_offset))


@pytest.mark.parametrize('augmented', [None, [True, True]])
@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_batch_without_objects(ignore, augmented):
    coder = CenterNetMono3DCoder(STRIDE, ignore=ignore)
    targets = encode(coder, [(CAMERA, []), (CAMERA, [])], (2, CLASSES, 4, 5), augmented)
    assert targets.depth.shape == (0, ) and targets.dims.shape == (0, 3)
    assert targets.orientation.inside.shape == (0, 2)
    assert targets.location_offset.shape == (0, 2)
    assert targets.boxes.heatmap.num_peaks() == 0 and targets.ignored is None


def test_lists_of_another_length():
    with pytest.raises(ValueError, match='batch of 2 images'):
        encode(CenterNetMono3DCoder(STRIDE), [(CAMERA, [])], (2, CLASSES, 4, 5))


def test_of_objects_in_one_cell_the_last_counts_if_asked():
    objects = [box_at(50, 30, 20, 16, 1), box_at(50.5, 30, 30, 16, 0)]
    for choice, weights in (('all', [1, 1]), ('last', [0, 1])):
        targets = encode(CenterNetMono3DCoder(STRIDE, shared_cells=choice), [(CAMERA, objects)],
                         (1, CLASSES, 12, 24))
        assert targets.boxes.weight.tolist() == targets.metric_weight.tolist() == weights


def test_the_radius_is_of_the_size_itself():
    """Not of the size rounded up to cells, as it is of 2D boxes and poses."""
    coder = CenterNetMono3DCoder(STRIDE)
    scene = CAMERA, [box_at(50, 24, 4 * 6.2, 4 * 8.05, 0)]
    drawn = encode(coder, [scene], (1, CLASSES, 12, 24)).boxes.heatmap.to_dense()[0, 0]
    expected = sample_slowly(
        scene[1], (CLASSES, 12, 24), np.array([[0.25, 0, 0], [0, 0.25, 0]]), CAMERA).heatmap[0]
    np.testing.assert_allclose(drawn, expected, atol=1e-5)
    coder.rounds_sizes_up = True
    rounded = encode(coder, [scene], (1, CLASSES, 12, 24)).boxes.heatmap.to_dense()[0, 0]
    assert not torch.equal(rounded, drawn)


def random_output(rng, height, width):
    """Logits with distinct values, boxes 1 to 60 m away."""
    def uniform(channels, low, high):
        return rng.uniform(low, high, (channels, height, width))

    return dict(
        heatmap=rng.normal(-1, 2, (CLASSES, height, width)),
        depth=uniform(1, -math.log(60), 0), dims=uniform(3, 0.5, 5),
        orientation=rng.normal(0, 1, (8, height, width)), wh=uniform(2, -1, 14),
        offset=uniform(2, 0, 1), location_offset=uniform(2, -5, 5))


def batch_of(outputs, missing=(), dtype=torch.float32):
    return {name: torch.from_numpy(np.stack([output[name] for output in outputs])).to(dtype)
            for name in outputs[0] if name not in missing}


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


@pytest.mark.parametrize('missing', [
    (), ('wh', ), ('offset', ), ('location_offset', ), ('offset', 'location_offset'),
    ('wh', 'location_offset')], ids=str)
@pytest.mark.parametrize('count', [9, 2000])
def test_decode_equals_loop(missing, count):
    rng = np.random.default_rng(4)
    height, width = 13, 18
    cameras = [make_camera(rng, STRIDE * width, STRIDE * height) for _ in range(3)]
    batch = batch_of([random_output(rng, height, width) for _ in range(3)], missing)
    decoded = CenterNetMono3DCoder(STRIDE).decode(
        **batch, cam2img=torch.from_numpy(np.stack(cameras)), topk=count)
    cells = CLASSES * height * width
    assert decoded.bboxes.shape == (3, min(count, cells), 4)
    assert decoded.bboxes_3d.shape == (3, min(count, cells), 7)
    for image, camera in enumerate(cameras):
        output = {name: value[image].double().numpy() for name, value in batch.items()}
        output['heatmap'] = sigmoid(output['heatmap'])
        expected = decode_slowly(output, camera, count)
        assert int((decoded.scores[image] > 0).sum()) == len(expected)
        for n, (score, label, bbox, box, alpha, depth) in enumerate(expected):
            assert float(decoded.scores[image, n]) == pytest.approx(score, abs=1e-6)
            assert int(decoded.labels[image, n]) == label
            assert decoded.bboxes[image, n].tolist() == pytest.approx(
                bbox, rel=1e-3 if 'wh' in missing else 0, abs=1e-2 if 'wh' in missing else 1e-4)
            found = decoded.bboxes_3d[image, n].tolist()
            assert found[:6] == pytest.approx(box[:6], abs=1e-4, rel=1e-5)
            assert angle_between(found[6], box[6]) < 1e-5
            assert angle_between(float(decoded.alpha[image, n]), alpha) < 1e-5
            assert float(decoded.depth[image, n]) == pytest.approx(depth, rel=1e-5)
    assert decoded.alpha.abs().max() <= math.pi
    assert decoded.bboxes_3d[..., 6].abs().max() <= math.pi


def test_without_sizes_boxes_behind_the_camera_are_finite():
    """A long lorry beside the camera reaches behind it."""
    output = batch_of([random_output(np.random.default_rng(5), 12, 16)], ('wh', ))
    output['depth'][:] = -math.log(1.5)
    output['dims'][:] = torch.tensor([3.0, 2.5, 16.0]).view(3, 1, 1)
    decoded = CenterNetMono3DCoder(STRIDE).decode(
        **output, cam2img=torch.from_numpy(CAMERA)[None], topk=50)
    boxes = decoded.bboxes[decoded.scores > 0]
    assert torch.isfinite(boxes).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


@pytest.mark.parametrize('value', [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_depth_of_any_output_is_finite(value, dtype):
    """Also in half precision, and with a finite gradient."""
    output = torch.tensor([value], dtype=dtype, requires_grad=True)
    depth = CenterNetMono3DCoder.depth_of(output)
    depth.sum().backward()
    assert depth.dtype == torch.float32
    assert 0 <= depth.item() <= 1e6 * (1 + 1e-6)
    assert torch.isfinite(output.grad).all()


def test_depth_is_the_papers():
    output = torch.linspace(-4.5, 4, 50, dtype=torch.float64)
    expected = 1 / torch.sigmoid(output) - 1
    torch.testing.assert_close(
        CenterNetMono3DCoder.depth_of(output).double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('options, words', [
    (dict(ignore='box'), 'ignore'), (dict(radius='mmdet'), 'radius'), (dict(stride=0), 'stride')])
def test_bad_settings(options, words):
    with pytest.raises(ValueError, match=words):
        CenterNetMono3DCoder(**options)
