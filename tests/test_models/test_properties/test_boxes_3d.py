"""3D boxes: decoding against the original's procedure, and there and back."""
import math

import numpy as np
import pytest
import torch
from helpers.boxes_3d import (
    CAMERA,
    CLASSES,
    arguments,
    box_at,
    make_camera,
    make_object,
    random_output,
    scattered,
)
from helpers.heads import as_probabilities, encode, perfect_outputs, stack
from reference.camera import angle_between
from reference.detection import STRIDE
from reference.mono3d import decode_slowly

from mmdet_centernet.models.dense_heads import CenterNetMono3DHead

pytestmark = pytest.mark.usefixtures('mmdet_scope')


def make_head(topk=100, **options):
    return CenterNetMono3DHead(CLASSES, 1, 1, test_cfg=dict(topk=topk), **options)


def encode_scenes(head, scenes, shape, augmented=None):
    instances, metas, ignored = arguments(scenes, augmented)
    return encode(head, instances, shape, metas, ignored)


@pytest.mark.parametrize('true_boxes', [False, True], ids=['centered boxes', 'true boxes'])
def test_decode_returns_every_box(true_boxes):
    """1000 objects of 50 cameras: location within 1 mm and rotation_y within 1e-4.

    In the original's way the 2D box must be around the projected center; with a branch for that
    center it is the extent of the projected corners.
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
            # A box that the map's border cuts has another center, and a cell has one object.
            cell = (x1 + x2) // (2 * STRIDE), (y1 + y2) // (2 * STRIDE)
            inside = x1 > 0 and y1 > 0 and x2 < STRIDE * (width - 1) and (
                y2 < STRIDE * (height - 1))
            if inside and all(cell != other.cell for other in objects) and len(objects) < 20:
                each.cell = cell
                objects.append(each)
        assert len(objects) == 20
        scenes.append((camera, objects))
    head = make_head(with_location_offset=true_boxes)
    targets = encode_scenes(head, scenes, shape)
    assert targets.wh.weight.sum() == 1000
    cameras = torch.from_numpy(np.stack([camera for camera, _ in scenes]))
    decoded = head.decode(perfect_outputs(head, targets), dict(cam2img=cameras))
    worst = dict(location=0.0, rotation_y=0.0, alpha=0.0, dims=0.0, bbox=0.0)
    for image, (_, objects) in enumerate(scenes):
        found = decoded['scores'][image] > 0.99
        assert int(found.sum()) == len(objects)
        boxes = decoded['bboxes'][image][found].double()
        for each in objects:
            index = (boxes - torch.tensor(each.bbox)).abs().amax(dim=1).argmin()
            box = decoded['bboxes_3d'][image][found][index].double()
            wanted = torch.tensor(each.bbox_3d, dtype=torch.float64)
            alpha = decoded['alpha'][image][found][index].item()
            assert decoded['labels'][image][found][index] == each.type
            assert decoded['depth'][image][found][index] == box[2]
            for name, error in (
                ('location', (box - wanted)[:3].norm()), ('dims', (box - wanted)[3:6].abs().max()),
                ('rotation_y', angle_between(box[6].item(), wanted[6].item())),
                ('alpha', angle_between(alpha, each.alpha)),
                ('bbox', (boxes[index] - torch.tensor(each.bbox)).abs().max())):
                worst[name] = max(worst[name], float(error))
    assert worst['location'] < 1e-3, worst
    assert max(worst['rotation_y'], worst['alpha'], worst['dims']) < 1e-4, worst
    assert worst['bbox'] < 0.01, worst
    for angles in (decoded['alpha'], decoded['bboxes_3d'][..., 6]):
        assert angles.min() >= -math.pi and angles.max() < math.pi


@pytest.mark.parametrize('missing', [
    (), ('wh', ), ('offset', ), ('location_offset', ), ('offset', 'location_offset'),
    ('wh', 'location_offset')], ids=str)
def test_decode_equals_loop(missing):
    """Of some peaks, and of all cells."""
    rng = np.random.default_rng(4)
    height, width = 13, 18
    cameras = [make_camera(rng, STRIDE * width, STRIDE * height) for _ in range(3)]
    batch = stack([random_output(rng, height, width) for _ in range(3)], missing)
    options = {f'with_{name}': name not in missing for name in ('wh', 'offset', 'location_offset')}
    for count in (9, 2000):
        head = make_head(count, **options)
        decoded = head.decode(batch, dict(cam2img=torch.from_numpy(np.stack(cameras))))
        cells = CLASSES * height * width
        assert decoded['bboxes'].shape == (3, min(count, cells), 4)
        assert decoded['bboxes_3d'].shape == (3, min(count, cells), 7)
        assert 'dims' not in decoded  # they are part of the 3D boxes
        for image, camera in enumerate(cameras):
            expected = decode_slowly(as_probabilities(batch, image), camera, count)
            assert int((decoded['scores'][image] > 0).sum()) == len(expected)
            for n, (score, label, bbox, box, alpha, depth) in enumerate(expected):
                assert float(decoded['scores'][image, n]) == pytest.approx(score, abs=1e-6)
                assert int(decoded['labels'][image, n]) == label
                assert decoded['bboxes'][image, n].tolist() == pytest.approx(
                    bbox, rel=1e-3 if 'wh' in missing else 0,
                    abs=1e-2 if 'wh' in missing else 1e-4)
                found = decoded['bboxes_3d'][image, n].tolist()
                assert found[:6] == pytest.approx(box[:6], abs=1e-4, rel=1e-5)
                assert angle_between(found[6], box[6]) < 1e-5
                assert angle_between(float(decoded['alpha'][image, n]), alpha) < 1e-5
                assert float(decoded['depth'][image, n]) == pytest.approx(depth, rel=1e-5)
        assert decoded['alpha'].abs().max() <= math.pi
        assert decoded['bboxes_3d'][..., 6].abs().max() <= math.pi


def test_decode_without_sizes_gives_finite_boxes_behind_the_camera():
    """A long truck beside the camera reaches behind it."""
    output = stack([random_output(np.random.default_rng(5), 12, 16)], ('wh', ))
    output['depth'][:] = -math.log(1.5)
    output['dims'][:] = torch.tensor([3.0, 2.5, 16.0]).view(3, 1, 1)
    decoded = make_head(50, with_wh=False, with_location_offset=True).decode(
        output, dict(cam2img=torch.from_numpy(CAMERA)[None]))
    boxes = decoded['bboxes'][decoded['scores'] > 0]
    assert torch.isfinite(boxes).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_encode_skips_what_is_not_a_number():
    """The position of an object may be NaN, and of such an object everything may be."""
    nan = float('nan')
    objects = [box_at(50, 30, 20, 16, 1), box_at(nan, 30, 20, 16, 0), box_at(30, 20, 9, 8, 2)]
    objects[1].bbox_3d, objects[1].alpha = (nan, ) * 7, nan
    targets = encode_scenes(
        make_head(with_location_offset=True), [(CAMERA, objects)], (1, CLASSES, 12, 24))
    for name in ('wh', 'offset', 'location_offset', 'depth', 'dims'):
        assert getattr(targets, name).weight.tolist() == [1, 0, 1]
        assert torch.isfinite(getattr(targets, name).values).all()
    assert targets.heatmap.heatmap.num_peaks() == 2
    assert torch.isfinite(targets.heatmap.heatmap.value).all()
    assert torch.isfinite(targets.orientation.values).all()
    assert not targets.orientation.weight[1].any()


def test_encode_batch_without_objects():
    for ignore in ('center', 'region'):
        for augmented in (None, [True, True]):
            head = make_head(with_location_offset=True, coder=dict(ignore=ignore))
            targets = encode_scenes(
                head, [(CAMERA, []), (CAMERA, [])], (2, CLASSES, 4, 5), augmented)
            assert targets.depth.values.shape == (0, 1) and targets.dims.values.shape == (0, 3)
            assert targets.orientation.values.shape == (0, 2, 3)
            assert targets.orientation.weight.shape == (0, 3)
            assert targets.location_offset.values.shape == (0, 2)
            assert targets.heatmap.heatmap.num_peaks() == 0 and targets.heatmap.ignored is None


def test_encode_trains_the_last_of_objects_in_one_cell_if_asked():
    objects = [box_at(50, 30, 20, 16, 1), box_at(50.5, 30, 30, 16, 0)]
    for choice, weights in (('all', [1, 1]), ('last', [0, 1])):
        targets = encode_scenes(make_head(coder=dict(shared_cells=choice)), [(CAMERA, objects)],
                                (1, CLASSES, 12, 24))
        for name in ('wh', 'offset', 'depth', 'dims'):
            assert getattr(targets, name).weight.tolist() == weights
        assert targets.orientation.weight[:, 0].tolist() == weights


@pytest.mark.parametrize('order', [1, -1], ids=['object first', 'object last'])
@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_encode_trains_an_object_where_something_is_ignored(ignore, order):
    objects = [box_at(50, 30, 20, 16, 1), box_at(50, 30, 40, 30, 'DontCare')][::order]
    targets = encode_scenes(make_head(coder=dict(ignore=ignore)), [(CAMERA, objects)],
                            (1, CLASSES, 12, 24))
    for name in ('wh', 'offset', 'depth', 'dims'):
        assert getattr(targets, name).weight.tolist() == [1]
