"""Keypoints: targets and decoding against the original's procedure, and of some classes only."""
import math

import numpy as np
import pytest
import torch
from helpers.boxes_3d import CELLS
from helpers.heads import as_probabilities, encode, perfect_outputs, stack
from helpers.poses import (
    CLASSES,
    KEYPOINTS,
    ROTATED,
    UPRIGHT,
    instances_of,
    make_people,
    metas_of,
    random_output,
    stick_figures,
)
from mmengine.structures import InstanceData
from reference.detection import STRIDE
from reference.heatmap import nearest_peaks_slowly
from reference.pose import decode_slowly, dense_slowly, sample_slowly
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead, CenterNetPoseHead
from mmdet_centernet.models.properties import Box, Keypoints

pytestmark = pytest.mark.usefixtures('mmdet_scope')
NAN = float('nan')
NOBODY = [(0.0, 0.0, 0)] * KEYPOINTS


def make_head(num_classes=CLASSES, num_keypoints=KEYPOINTS, topk=100, **options):
    return CenterNetPoseHead(
        num_classes, num_keypoints, 1, 1, test_cfg=dict(topk=topk), **options)


def encode_people(people, shape, **options):
    """Return the targets of one image."""
    return encode(make_head(shape[1], **options), instances_of([people]), shape)


def of_objects(target):
    """Return values and weights of a target with an entry for each object and keypoint."""
    return target.values.unflatten(0, (-1, KEYPOINTS)), target.weight.view(-1, KEYPOINTS)


def test_encode_trains_only_the_center_of_a_person_without_keypoints():
    """It is drawn like any other; neither its size nor its offset is trained."""
    targets = encode_people([(0, (8.0, 8.0, 40.0, 40.0), NOBODY)], (1, 1, 12, 12))
    assert targets.heatmap.heatmap.num_peaks() == 1
    assert targets.wh.weight.tolist() == targets.offset.weight.tolist() == [0]
    assert targets.keypoint_displacement.weight.sum() == targets.keypoint_offset.weight.sum() == 0
    assert targets.keypoint_heatmap.heatmap.num_peaks() == 0


def test_encode_skips_keypoints_outside_the_map_but_not_their_person():
    for keypoint in [(-0.1, 5.0, 2), (48.0, 5.0, 2), (5.0, -0.1, 1), (5.0, 40.0, 1)]:
        person = [(0, (8.0, 8.0, 40.0, 38.0), [keypoint] * KEYPOINTS)]
        targets = encode_people(person, (1, 1, 10, 12))
        assert targets.wh.weight.tolist() == [1]
        assert targets.keypoint_displacement.weight.sum() == 0
        assert targets.keypoint_offset.weight.sum() == 0
    inside = [(0, (8.0, 8.0, 40.0, 38.0), [(47.9, 39.9, 1), (0.0, 0.0, 2)] + [(0, 0, 0)] * 3)]
    target = encode_people(inside, (1, 1, 10, 12)).keypoint_offset
    assert target.weight.tolist() == [1, 1, 0, 0, 0]
    assert target.cells[:2].tolist() == [9 * 12 + 11, 0]


def test_encode_skips_what_is_not_a_number():
    people = [(0, (8.0, 8.0, 40.0, 38.0), [(NAN, 5.0, 2), (9.0, 9.0, 2)] + [(0, 0, 0)] * 3),
              (0, (NAN, 8.0, 40.0, 38.0), [(9.0, 9.0, 2)] * KEYPOINTS)]
    targets = encode_people(people, (1, 1, 10, 12))
    assert targets.wh.weight.tolist() == [1, 0]
    assert of_objects(targets.keypoint_offset)[1].tolist() == [[0, 1, 0, 0, 0], [0] * 5]
    assert all(torch.isfinite(value).all() for value in (
        targets.keypoint_displacement.values, targets.keypoint_offset.values,
        targets.keypoint_heatmap.heatmap.value))


@pytest.mark.parametrize('dense', [False, True], ids=['centers', 'dense'])
@pytest.mark.parametrize('rotated', [(0, 0), (1, 1)], ids=['upright', 'rotated'])
def test_encode_batch_without_objects(rotated, dense):
    head = make_head(1, dense_displacement=dense)
    targets = encode(head, instances_of([[], []]), (2, 1, 4, 5), metas_of(rotated))
    assert targets.keypoint_displacement.values.shape == ((0, 2) if dense else (0, KEYPOINTS, 2))
    assert targets.keypoint_heatmap.heatmap.to_dense().shape == (2, KEYPOINTS, 4, 5)
    assert targets.heatmap.heatmap.to_dense().shape == (2, 1, 4, 5)
    assert (targets.heatmap.ignored is not None) == bool(sum(rotated))
    assert targets.keypoint_heatmap.heatmap.num_peaks() == 0
    assert targets.heatmap.heatmap.num_peaks() == 0


def test_encode_trains_the_last_of_people_in_one_cell_if_asked():
    people = [(0, (8.0, 8.0, 40.0, 40.0), [(9.0, 9.0, 2)] * KEYPOINTS),
              (1, (9.0, 9.0, 39.0, 39.0), [(20.0, 9.0, 2)] * KEYPOINTS)]
    for choice, weights in (('all', [1, 1]), ('last', [0, 1])):
        targets = encode_people(people, (1, 2, 12, 12), coder=dict(shared_cells=choice))
        assert targets.wh.weight.tolist() == weights
        assert targets.keypoint_displacement.weight[:, 0].tolist() == weights
        assert of_objects(targets.keypoint_offset)[1][:, 0].tolist() == [1, 1]


def test_encode_dense_displacements_equal_loop():
    rng = np.random.default_rng(2)
    height, width = 14, 19
    scenes = [make_people(rng, STRIDE * width, STRIDE * height, count) for count in (5, 0, 3)]
    target = encode(make_head(dense_displacement=True), instances_of(scenes),
                    (3, CLASSES, height, width)).keypoint_displacement
    found = {}
    for image, cell, (dx, dy), value, (x_channel, y_channel) in zip(*(part.tolist() for part in (
            target.images, target.cells, target.values, target.weight, target.channels))):
        if value:
            assert x_channel % 2 == 0 and y_channel == x_channel + 1
            place = image, x_channel // 2, cell // width, cell % width
            assert place not in found
            found[place] = value, (dx, dy)
    expected = {(image, *key): entry for image, people in enumerate(scenes)
                for key, entry in dense_slowly(people, (height, width), KEYPOINTS).items()}
    assert found.keys() == expected.keys()
    assert len(found) > 100
    assert target.count.item() == pytest.approx(sum(value for value, _ in expected.values()))
    for key, (value, displacement) in expected.items():
        assert found[key][0] == pytest.approx(value, abs=1e-6)
        assert found[key][1] == pytest.approx(displacement, abs=1e-4)


@pytest.mark.parametrize('noise', [0.0, 0.9], ids=['exact', 'shaken'])
def test_decode_returns_every_keypoint(noise):
    """Within 0.01 px, also of two people in neighboring cells; and if the displacement is only
    nearly right, from the keypoint's peak."""
    rng = np.random.default_rng(3)
    height, width = 64, 80
    shape = (6, CLASSES, height, width)
    scenes = []
    for _ in range(shape[0]):
        grid = [(x, y) for x in range(45, 300, 70) for y in range(45, 230, 70)]
        centers = [np.array(grid[i]) + rng.uniform(0, 6, 2) for i in rng.permutation(12)[:5]]
        centers.append(centers[0] + [STRIDE, 0])  # the next cell
        scenes.append(stick_figures(rng, centers, spread=0.9))
    head, instances = make_head(), instances_of(scenes)
    outputs = perfect_outputs(head, encode(head, instances, shape))
    outputs['keypoint_displacement'] += noise * (
        torch.rand(outputs['keypoint_displacement'].shape,
                   generator=torch.Generator().manual_seed(0)) - 0.5)
    decoded = head.decode(outputs)
    snapped = 0
    for image, people in enumerate(instances):
        points = people.keypoints
        found = decoded['scores'][image] > 0.99
        assert int(found.sum()) == len(people)
        boxes = decoded['bboxes'][image][found]
        for person in range(len(people)):
            index = (boxes - people.bboxes[person]).abs().amax(dim=1).argmin()
            assert (boxes[index] - people.bboxes[person]).abs().max() < 0.01
            assert decoded['labels'][image][found][index] == people.labels[person]
            error = (decoded['keypoints'][image][found][index] - points[person]).norm(dim=-1)
            near_rivals = np.array([
                min(math.dist(points[person, k], points[rival, k])
                    for rival in range(len(people)) if rival != person)
                for k in range(KEYPOINTS)])
            alone = torch.from_numpy(near_rivals > 2 * STRIDE * noise)
            assert error[alone].max() < 0.01
            snapped += int(alone.sum())
    assert snapped >= (180 if not noise else 165)


def assert_decoded(decoded, image, expected, kinds=None):
    """Check one image's detections against those of :func:`decode_slowly`."""
    assert int((decoded['scores'][image] > 0).sum()) == len(expected)
    for n, (score, label, box, keypoints) in enumerate(expected):
        assert float(decoded['scores'][image, n]) == pytest.approx(score, abs=1e-6)
        assert int(decoded['labels'][image, n]) == label
        assert decoded['bboxes'][image, n].tolist() == pytest.approx(box, abs=1e-4)
        wanted = np.array(keypoints)
        np.testing.assert_allclose(decoded['keypoints'][image, n], wanted[:, :2], atol=1e-4)
        np.testing.assert_allclose(decoded['keypoint_scores'][image, n], wanted[:, 2], atol=1e-6)
        if kinds is not None:
            kinds['snapped'] += int((wanted[:, 2] != score).sum())
            kinds['stayed'] += int((wanted[:, 2] == score).sum())


@pytest.mark.parametrize('missing, options', [
    ((), {}), (('offset', ), dict(with_offset=False)),
    (('keypoint_offset', ), dict(with_keypoint_offset=False)),
    (('keypoint_heatmap', 'keypoint_offset'), dict(with_keypoint_heatmap=False))],
    ids=['all', 'no offset', 'no keypoint offset', 'no keypoint heatmap'])
@pytest.mark.parametrize('count', [9, 1000])
def test_decode_equals_loop(missing, options, count):
    rng = np.random.default_rng(4)
    batch = stack([random_output(rng, 13, 18) for _ in range(3)], missing)
    decoded = make_head(topk=count, **options).decode(batch)
    kinds = dict(snapped=0, stayed=0)
    for image in range(3):
        assert_decoded(
            decoded, image, decode_slowly(as_probabilities(batch, image), count), kinds)
    assert kinds['stayed'] > 50 and (kinds['snapped'] > 20) == ('keypoint_heatmap' not in missing)


def one_keypoint(peak, logit, displacement=(2.0, 1.0), wh=(12.0, 8.0), **options):
    """Decode one person at cell (10, 10) with one keypoint; ``peak`` (x, y) in cells."""
    heatmap, keypoint = torch.full((1, 1, 20, 24), -9.0), torch.full((1, 1, 20, 24), -9.0)
    heatmap[0, 0, 10, 10] = 2.0
    keypoint[0, 0, peak[1], peak[0]] = logit
    outputs = dict(heatmap=heatmap, keypoint_heatmap=keypoint)
    for name, value in dict(keypoint_displacement=displacement, wh=wh, offset=(0.5, 0.5),
                            keypoint_offset=(0.5, 0.5)).items():
        if value is not None:
            outputs[name] = torch.tensor(value).view(1, 2, 1, 1).expand(1, 2, 20, 24)
    head = make_head(1, 1, topk=5, with_wh=wh is not None, **options)
    decoded = head.decode(outputs)
    return decoded, decoded['keypoint_scores'][0, 0, 0] != decoded['scores'][0, 0]


def test_decode_snaps_only_to_a_peak_that_is_good_near_and_inside():
    def snaps(*args, **options):
        return bool(one_keypoint(*args, **options)[1])

    assert snaps((12, 11), 3.0)
    assert snaps((12, 11), math.log(0.101 / 0.899))
    assert not snaps((12, 11), math.log(0.099 / 0.901))
    assert snaps((12, 11), math.log(0.099 / 0.901), snap_score=0.05)
    # The keypoint is at (12, 11); 0.3 of the longer side are 3.6 cells.
    assert snaps((12, 13), 3.0) and not snaps((7, 11), 3.0)
    assert snaps((7, 11), 3.0, snap_distance=0.4)
    # The box ends at y = 14.5, and with a height of 6 at 13.5.
    assert snaps((12, 14), 3.0) and not snaps((12, 14), 3.0, wh=(12.0, 6.0))
    decoded, _ = one_keypoint((12, 11), 3.0)
    assert decoded['keypoints'][0, 0, 0].tolist() == [12.5 * STRIDE, 11.5 * STRIDE]
    decoded, _ = one_keypoint((1, 1), 3.0)
    assert decoded['keypoints'][0, 0, 0].tolist() == [12 * STRIDE, 11 * STRIDE]
    assert decoded['keypoint_scores'][0, 0, 0] == decoded['scores'][0, 0]


def test_decode_without_sizes_gives_the_boxes_around_the_keypoints():
    """And that of a single keypoint does not have a side to measure a distance by."""
    decoded, snapped = one_keypoint((12, 11), 3.0, wh=None)
    assert not snapped
    assert decoded['bboxes'][0, 0].tolist() == [48, 44, 48, 44]
    output = stack([random_output(np.random.default_rng(5), 12, 15)], missing=('wh', ))
    decoded = make_head(topk=20, with_wh=False).decode(output)
    keypoints = decoded['keypoints']
    assert torch.equal(
        decoded['bboxes'], torch.cat((keypoints.amin(2), keypoints.amax(2)), dim=-1))
    assert (decoded['keypoint_scores'] != decoded['scores'][..., None]).any()


class LargestResult(TorchDispatchMode):
    """Remembers the number of elements of the largest result of any operation."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result, ):
            if isinstance(value, torch.Tensor) and 'expand' not in str(func):
                self.largest = max(self.largest, value.untyped_storage().nbytes())
        return result


def test_decode_memory_is_bounded():
    """16 images, 100 people, 17 keypoints, 100 peaks: no result is larger than their distances
    or a branch's map."""
    batch, people, keypoints, size = 16, 100, 17, 96
    head = make_head(1, keypoints, topk=people)
    outputs = {name: torch.zeros(batch, branch.channels, size, size, device='meta')
               for name, branch in head.branches.items()}
    with LargestResult() as memory:
        decoded = head.decode(outputs)
    assert decoded['keypoints'].shape == (batch, people, keypoints, 2)
    distances = batch * people * keypoints * people
    assert 4 * distances <= memory.largest <= 4 * max(
        distances, batch * 2 * keypoints * size * size)


@pytest.mark.parametrize('options, words', [
    (dict(snap_score=-1), 'snap_score'), (dict(snap_distance=-0.1), 'snap_distance')])
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        Keypoints(**options)


@pytest.mark.parametrize('pairs', [[(1, 5)], [(1, 2), (2, 3)], [(1, 1)], [(-1, 2)]], ids=str)
def test_init_refuses_pairs_of_other_keypoints(pairs):
    with pytest.raises(ValueError, match='flip_pairs'):
        Keypoints(5, flip_pairs=pairs)


# Keypoints for some classes only.

NAMES = ['tree', 'person', 'car']
TREE, PERSON, CAR = range(3)
WHEELS = 3  # keypoints of a car


def mixed_head(*properties, topk=100):
    head = CenterHead(
        len(NAMES), 1, 1, [Box(), *properties], test_cfg=dict(topk=topk),
        coder=dict(radius='official', min_overlap=0.7, shared_cells='all'))
    head.use_dataset(dict(classes=NAMES))
    return head


def person(**options):
    return Keypoints(KEYPOINTS, classes=['person'], **options)


def wheels(**options):
    return Keypoints(WHEELS, name='wheel', classes=['car'], **options)


def mixed_scene(rng, height, width, count):
    """Return people, cars and trees, all with keypoints that count only for their own class."""
    people = make_people(rng, STRIDE * width, STRIDE * height, count)
    return [(int(rng.integers(len(NAMES))), box, keypoints) for _, box, keypoints in people]


def only(scene, label, count):
    """Return a scene in which only the objects of one class have keypoints labeled."""
    return [(each, box, [
        (x, y, v * (each == label)) for x, y, v in keypoints[:count]])
        for each, box, keypoints in scene]


@pytest.mark.parametrize('name, label, count', [
    ('keypoint', PERSON, KEYPOINTS), ('wheel', CAR, WHEELS)])
@pytest.mark.parametrize('dense', [False, True], ids=['centers', 'dense'])
def test_encode_of_some_classes_equals_loop(name, label, count, dense):
    """As if the keypoints of all other objects were not labeled. The data set has as many
    columns as the largest skeleton. Sizes of all objects are trained."""
    rng = np.random.default_rng(6)
    height, width = 13, 18
    scenes = [mixed_scene(rng, height, width, number) for number in (24, 0, 15)]
    head = mixed_head(person(dense_displacement=dense), wheels(dense_displacement=dense))
    targets = encode(head, instances_of(scenes), (3, len(NAMES), height, width))
    assert targets.wh.weight.sum() == targets.centers.valid.sum() >= 30
    heatmap = getattr(targets, f'{name}_heatmap').heatmap.to_dense()
    offset = getattr(targets, f'{name}_offset')
    displacement = getattr(targets, f'{name}_displacement')
    found, displaced = [], {}
    for image, cell, value, weight in zip(
            offset.images.tolist(), offset.cells.tolist(), offset.values, offset.weight):
        if weight:
            found.append((image, cell, *value.tolist()))
    if not dense:
        assert displacement.count == displacement.weight.sum()
        for n, k in (displacement.weight > 0).nonzero().tolist():
            displaced[int(displacement.images[n]), int(displacement.cells[n]), k, n] = (
                displacement.values[n, k].tolist())
    expected, expected_displaced = [], []
    for image, scene in enumerate(scenes):
        own = only(scene, label, count)
        sample = sample_slowly(own, (len(NAMES), count, height, width), CELLS, CELLS)
        np.testing.assert_allclose(heatmap[image], sample.keypoint_heatmap, atol=1e-5)
        expected += [(image, y * width + x, *value) for _, (x, y), value in sample.keypoints]
        expected_displaced += [(image, y * width + x, k, value)
                               for (x, y), k, value in sample.displacements]
        if dense:
            cells = dense_slowly(own, (height, width), count)
            here = displacement.images == image
            weights = displacement.weight[here]
            assert int((weights > 0).sum()) == len(cells)
            assert float(weights.sum()) == pytest.approx(sum(value for value, _ in cells.values()))
    assert len(found) == len(expected) > 10
    np.testing.assert_allclose(np.array(found), np.array(expected), atol=2e-4)
    if not dense:
        assert len(displaced) == len(expected_displaced)
        for (image, cell, k, _), (*place, _) in zip(displaced, expected_displaced):
            assert [image, cell, k] == place
        np.testing.assert_allclose(
            np.array(list(displaced.values())),
            np.array([value for *_, value in expected_displaced]), atol=2e-4)


def mixed_outputs(head, batch=2, height=13, width=18, seed=7):
    """Return random outputs in which all classes have peaks."""
    torch.manual_seed(seed)
    outputs = {}
    for name, branch in head.branches.items():
        values = torch.randn(batch, branch.channels, height, width)
        outputs[name] = values * 3 if 'displacement' in name else (
            values * 2 - 1 if branch.kind == 'heatmap' else values.abs() * 6)
    return outputs


def renamed(outputs, name):
    """Return the outputs of one skeleton under the names that references know."""
    return {key.replace(f'{name}_', 'keypoint_'): value for key, value in outputs.items()
            if key in ('heatmap', 'wh', 'offset') or key.startswith(f'{name}_')}


@pytest.mark.parametrize('cars_first', [False, True])
def test_decode_of_two_skeletons_equals_loop(cars_first):
    """Each object has the keypoints of its own class, then zeros up to the larger skeleton."""
    properties = [person(), wheels()]
    head = mixed_head(*properties[::-1 if cars_first else 1], topk=60)
    outputs = mixed_outputs(head)
    decoded = head.decode(outputs)
    assert decoded['keypoints'].shape == (2, 60, KEYPOINTS, 2)
    assert decoded['keypoint_scores'].shape == (2, 60, KEYPOINTS)
    seen = set()
    for image in range(2):
        skeletons = {label: decode_slowly(as_probabilities(renamed(outputs, name), image), 60)
                     for name, label in (('keypoint', PERSON), ('wheel', CAR))}
        expected = []
        for of_person, of_car in zip(skeletons[PERSON], skeletons[CAR]):
            score, label, box, keypoints = of_car if of_person[1] == CAR else of_person
            keypoints = keypoints if label != TREE else []
            seen.add(label)
            expected.append((score, label, box, [
                *keypoints, *[(0, 0, 0)] * (KEYPOINTS - len(keypoints))]))
        assert_decoded(decoded, image, expected)
    assert seen == {TREE, PERSON, CAR}


def test_decode_of_one_class_gives_zeros_to_others():
    head, plain = mixed_head(person()), mixed_head(Keypoints(KEYPOINTS))
    outputs = mixed_outputs(head)
    decoded, everything = head.decode(outputs), plain.decode(outputs)
    mine = decoded['labels'] == PERSON
    assert mine.any() and not mine.all()
    for name in ('keypoints', 'keypoint_scores'):
        assert torch.equal(decoded[name][mine], everything[name][mine])
        assert not decoded[name][~mine].any()
    assert torch.equal(decoded['bboxes'], everything['bboxes'])


@pytest.mark.parametrize('classes, labels', [(['person'], {1}), (['car', 'tree'], {0, 2})],
                         ids=str)
def test_use_dataset_looks_up_labels(classes, labels):
    keypoints = Keypoints(KEYPOINTS, classes=classes)
    keypoints.use_dataset(dict(classes=tuple(NAMES)))
    assert set(keypoints.labels) == labels
    everything = Keypoints(KEYPOINTS)
    everything.use_dataset({})
    assert everything.labels is None


@pytest.mark.parametrize('metainfo', [dict(classes=NAMES), dict(classes=None), {}], ids=str)
def test_use_dataset_refuses_unknown_classes(metainfo):
    with pytest.raises(UserError, match=r"classes=\['person', 'pedestrian'\]. names the class "
                                        r"'(pedestrian|person)', which the data set does not"):
        Keypoints(KEYPOINTS, classes=['person', 'pedestrian']).use_dataset(metainfo)


def skeleton(count, pairs=None):
    return dict(num_keypoints=count) | ({} if pairs is None else dict(flip_pairs=pairs))


MIXED = dict(classes=NAMES, skeletons=dict(
    person=skeleton(KEYPOINTS, [(1, 2)]), car=skeleton(WHEELS, [[0, 2]])))


def test_use_dataset_takes_the_pairs_of_its_own_skeleton():
    keypoints, others = person(), wheels()
    for each in (keypoints, others):
        each.use_dataset(MIXED)
    assert (keypoints.labels, keypoints.flip_pairs) == ((PERSON,), [(1, 2)])
    assert (others.labels, others.flip_pairs) == ((CAR,), [(0, 2)])
    given = person(flip_pairs=[(3, 4)])
    given.use_dataset(MIXED)
    assert given.flip_pairs == [(3, 4)]
    everyone = Keypoints(KEYPOINTS)
    everyone.use_dataset(dict(classes=NAMES, **skeleton(KEYPOINTS, [(0, 1)])))
    assert everyone.flip_pairs == [(0, 1)]
    everyone.use_dataset(dict(classes=NAMES))  # boxes only
    assert everyone.flip_pairs == [(0, 1)]


@pytest.mark.parametrize('keypoints, metainfo, words', [
    (dict(classes=['tree']), MIXED, r"classes=\['tree'\]\) is for the class 'tree', which has no "
                                    r"keypoints in the data set: .*\['person', 'car'\]"),
    (dict(), MIXED, r"different numbers of keypoints, \{'person': 5, 'car': 3\}, but "
                    'model.bbox_head predicts the same number for all: compose'),
    (dict(classes=['car']), MIXED, r'the data set has 3 keypoints, but .*\[.car.\]\) predicts 5: '
                                   'set its num_keypoints=3'),
    (dict(), skeleton(7), 'has 7 keypoints, but model.bbox_head predicts 5: set '
                          'model.bbox_head.num_keypoints=7'),
    (dict(), dict(skeletons=dict(a=skeleton(5, [(0, 1)]), b=skeleton(5, [(2, 3)]))),
     'different pairs of left and right keypoints'),
], ids=['no keypoints', 'several numbers', 'number of a class', 'number', 'several pairs'])
def test_use_dataset_refuses_other_skeletons(keypoints, metainfo, words):
    with pytest.raises(UserError, match=words):
        Keypoints(KEYPOINTS, **keypoints).use_dataset(metainfo)


def test_compare_pairs_refuses_other_pairs():
    """The order within and of pairs does not matter."""
    keypoints = Keypoints(KEYPOINTS, flip_pairs=[(1, 2), (4, 3)])
    for pairs in ([(1, 2), (3, 4)], [(3, 4), (2, 1)], None):
        keypoints.compare_pairs(skeleton(KEYPOINTS, pairs))
    with pytest.raises(UserError, match=(
            r'pairs .* \[\(0, 1\)\], but model.bbox_head.flip_pairs is \[\(1, 2\), \(4, 3\)\]: '
            'leave flip_pairs out')):
        keypoints.compare_pairs(skeleton(KEYPOINTS, [(0, 1)]))
    learned = person()
    learned.compare_pairs(MIXED)  # without pairs nothing is compared
    learned.use_dataset(MIXED)
    with pytest.raises(UserError, match='the one before it had .* give both the same skeleton'):
        learned.compare_pairs(dict(classes=NAMES, skeletons=dict(
            MIXED['skeletons'], person=skeleton(KEYPOINTS, [(3, 4)]))))
    given = person(flip_pairs=[(1, 2)])
    with pytest.raises(UserError, match=r"Keypoints\(classes=\['person'\]\).flip_pairs is"):
        given.compare_pairs(dict(classes=NAMES, skeletons=dict(
            person=skeleton(KEYPOINTS, [(3, 4)]))))


def test_describe_names_points_and_classes():
    assert person().describe() == dict(
        points=['keypoints'], num_keypoints=KEYPOINTS, classes=['person'])
    assert Keypoints(3).describe() == dict(points=['keypoints'], num_keypoints=3)


def test_classes_without_a_data_set_end_in_one_message():
    """In training, prediction and export alike."""
    head = CenterHead(len(NAMES), 1, 1, [Box(), person()])
    outputs = mixed_outputs(head)
    words = r"Keypoints\(classes=\['person'\]\) does not know the labels.*use_dataset"
    instances = instances_of([[], []])
    for call in (lambda: head.loss_by_feat([outputs], instances, [{}] * 2),
                 lambda: head.decode(outputs),
                 lambda: head.predict_by_feat([outputs], [{}] * 2)):
        with pytest.raises(UserError, match=words):
            call()


def test_check_takes_more_columns_than_keypoints_for_some_classes_only():
    """Mixed data sets pad to the largest skeleton; fewer columns are a mistake."""
    meta = dict(img_path='made.png')
    rows = InstanceData(keypoints=torch.zeros(2, 4, 2))
    for count, classes, fits in ((4, None, True), (3, None, False), (5, None, False),
                                 (3, ['car'], True), (4, ['car'], True), (5, ['car'], False)):
        keypoints = Keypoints(count, classes=classes)
        if fits:
            keypoints.check(rows, meta, 3)
            continue
        with pytest.raises(UserError, match=(
                rf'made.png has keypoints of shape \(2, 4, 2\), not \[N, {count}, 2\]')):
            keypoints.check(rows, meta, 3)


def test_flips_of_two_skeletons_swap_their_own_pairs():
    head = mixed_head(person(flip_pairs=[(1, 2)]), wheels(flip_pairs=[(0, 2)]))
    outputs = mixed_outputs(head, batch=4)
    merged = head.merge_flipped(outputs)
    for name, places in (('keypoint', [0, 2, 1, 3, 4]), ('wheel', [2, 1, 0])):
        heatmap, displacement = f'{name}_heatmap', f'{name}_displacement'
        for k, place in enumerate(places):
            theirs = outputs[heatmap][2:, place].flip(-1).sigmoid()
            torch.testing.assert_close(
                merged[heatmap][:, k].sigmoid(), (outputs[heatmap][:2, k].sigmoid() + theirs) / 2)
            for axis, sign in enumerate((-1, 1)):
                theirs = sign * outputs[displacement][2:, 2 * place + axis].flip(-1)
                torch.testing.assert_close(
                    merged[displacement][:, 2 * k + axis],
                    (outputs[displacement][:2, 2 * k + axis] + theirs) / 2)
        assert torch.equal(merged[f'{name}_offset'], outputs[f'{name}_offset'][:2])


def test_flip_without_pairs_ends_in_one_message():
    head = mixed_head(person(flip_pairs=[(1, 2)]), wheels())
    with pytest.raises(UserError, match='flip_pairs'):
        head.merge_flipped(mixed_outputs(head, batch=4))


def test_to_image_moves_every_keypoint():
    torch.manual_seed(0)
    keypoints = torch.rand(2, 6, KEYPOINTS, 2) * 50
    matrices = torch.tensor(np.stack([UPRIGHT, ROTATED]), dtype=torch.float32)
    moved = Keypoints(KEYPOINTS).to_image(dict(keypoints=keypoints), matrices)
    assert set(moved) == {'keypoints'}
    for image, matrix in enumerate((UPRIGHT, ROTATED)):
        for n in range(6):
            for k in range(KEYPOINTS):
                wanted = matrix @ [*keypoints[image, n, k].tolist(), 1]
                np.testing.assert_allclose(moved['keypoints'][image, n, k], wanted[:2], rtol=1e-5)


def test_nearest_peak_reference_ignores_weak_peaks():
    """The reference that decoding is compared with can fail: a near but weak peak does not
    count."""
    peaks = [(3.0, 4.0, 0.05), (6.0, 8.0, 0.9)]
    assert nearest_peaks_slowly((0, 0), peaks, 0.1) == (10.0, 1)
    assert nearest_peaks_slowly((0, 0), peaks[:1], 0.1) is None


@pytest.mark.parametrize(('classes', 'others', 'words'), [
    (None, ['car'], 'one is for all classes'), (['car'], None, 'one is for all classes'),
    (['car', 'person'], ['bus', 'person'], "have the class 'person'")])
def test_a_class_has_the_keypoints_of_one_property(classes, others, words):
    with pytest.raises(UserError, match=words):
        CenterHead(3, 4, 4, properties=[
            Keypoints(2, 'one', classes=classes), Keypoints(3, 'two', classes=others)])
