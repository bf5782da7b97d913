"""Encoding and decoding poses against the original's procedure, and against each other."""
import math

import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from pose_reference import STRIDE, decode_slowly, sample_slowly, warp_by_points
from torch.utils._python_dispatch import TorchDispatchMode

from mmdet_centernet.datasets.transforms import CenterAffine
from mmdet_centernet.models.task_modules import CenterNetPoseCoder
from mmdet_centernet.ops.heatmap import CellOwners

CLASSES, JOINTS = 2, 5
PLACES = [0, 2, 1, 4, 3]  # of the joints in a mirror image


def make_people(rng, width, height, count):
    """(label, box, joints) in px: joints in and around boxes that reach over the border."""
    people = []
    for number in range(count):
        center = rng.uniform(0, 1, 2) * (width, height)
        size = rng.uniform(4, 60, 2)
        box = (*(center - size / 2), *(center + size / 2))
        joints = [(*(center + rng.uniform(-0.7, 0.7, 2) * size), int(v))
                  for v in rng.integers(0, 3, JOINTS)]
        if number % 4 == 3:
            joints = [(0.0, 0.0, 0)] * JOINTS  # a person, or a crowd, without joints
        people.append((int(rng.integers(CLASSES)), box, joints))
    return people


def arrays(people):
    """bboxes, labels, keypoints, keypoints_visible."""
    joints = torch.tensor([joints for _, _, joints in people]).view(-1, JOINTS, 3)
    return (torch.tensor([box for _, box, _ in people]).view(-1, 4),
            torch.tensor([label for label, _, _ in people]).long(),
            joints[..., :2], joints[..., 2])


def encode(coder, scenes, shape, rotated=None):
    return coder.encode(*zip(*(arrays(people) for people in scenes)), shape, rotated)


def entries(targets, image, width):
    """Objects, displacements and joints of an image as the reference has them."""
    boxes = targets.boxes

    def position(cell):
        return int(cell) % width, int(cell) // width

    objects, displacements, joints = [], [], []
    for n in (boxes.images == image).nonzero().flatten().tolist():
        center = position(boxes.cells[n])
        if boxes.weight[n]:
            objects.append((int(boxes.labels[n]), center, boxes.wh[n].tolist(),
                            boxes.offset[n].tolist()))
        for j in range(JOINTS):
            if targets.displacement_weight[n, j]:
                displacements.append((center, j, targets.displacement[n, j].tolist()))
            if targets.keypoint_weight[n, j]:
                joints.append((j, position(targets.keypoint_cells[n, j]),
                               targets.keypoint_offset[n, j].tolist()))
    return objects, displacements, joints


def assert_same_entries(found, expected):
    """Tuples of numbers, and of such, in the same order."""
    def flat(value):
        return [value] if np.isscalar(value) else [x for part in value for x in flat(part)]

    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert flat(one) == pytest.approx(flat(other), abs=2e-4)


def assert_equals(targets, image, plane, expected, width):
    """``targets`` of an image, whose centre heat map is number ``plane``."""
    joint_heatmap = targets.keypoint_heatmap.to_dense()[image].double().numpy()
    np.testing.assert_allclose(joint_heatmap, expected.keypoint_heatmap, atol=1e-5)
    if expected.heatmap is not None:
        heatmap = targets.boxes.heatmap.to_dense()[plane].double().numpy()
        np.testing.assert_allclose(heatmap, expected.heatmap, atol=1e-5)
    found = entries(targets, image, width)
    for part, wanted in zip(found, (expected.objects, expected.displacements, expected.joints)):
        assert_same_entries(part, wanted)


def test_sampling_equals_the_originals(monkeypatch):
    """50 scenes through our transform and coder, cropped, scaled, mirrored and rotated."""
    side, size = 96, 24
    rng = np.random.default_rng(0)
    transform = CenterAffine(crop_size=(side, side), rotate_prob=1, rotate=40, flip_prob=0.5)
    batches, seen = [], dict(mirrored=0, rotated=0, objects=0, joints=0)
    for scene in range(50):
        width, height = (int(v) for v in rng.integers(60, 200, 2))
        people = make_people(rng, width, height, int(rng.integers(0, 6)))
        scale, mirrored = rng.uniform(0.6, 1.4), scene % 3 == 0
        angle = rng.normal() * 40 if scene % 4 == 1 else 0.0
        center = rng.uniform(0.3, 0.7, 2) * (width, height)
        drawn = tuple(center), scale, mirrored
        monkeypatch.setattr(transform, '_draw', lambda *_, drawn=drawn: drawn)
        monkeypatch.setattr(transform, '_draw_angle', lambda angle=angle: angle)
        boxes, labels, points, visible = arrays(people)
        results = transform(dict(
            img=np.zeros((height, width, 3), np.uint8), gt_bboxes=HorizontalBoxes(boxes),
            gt_bboxes_labels=labels.numpy(), gt_ignore_flags=np.zeros(len(labels), bool),
            gt_keypoints=points.float().numpy(), gt_keypoints_visible=visible.float().numpy(),
            flip_indices=PLACES))
        shown = (width - 1 - center[0], center[1]) if mirrored else center
        long_side = max(width, height) * scale
        matrices = [warp_by_points(shown, long_side, turn, size) for turn in (0, angle)]
        expected = sample_slowly(people, (CLASSES, JOINTS, size, size), *matrices,
                                 (width, PLACES) if mirrored else None)
        batches.append((results, expected))
        seen['mirrored'] += mirrored
        seen['rotated'] += expected.heatmap is None
        seen['objects'] += len(expected.objects)
        seen['joints'] += len(expected.joints)
    assert all(count >= 10 for count in seen.values()), seen
    samples = [results for results, _ in batches]
    rotated = [bool(results['homography_matrix'][0, 1]) for results in samples]
    targets = CenterNetPoseCoder(STRIDE).encode(
        [results['gt_bboxes'].tensor for results in samples],
        [torch.from_numpy(results['gt_bboxes_labels']) for results in samples],
        [torch.from_numpy(results['gt_keypoints']) for results in samples],
        [torch.from_numpy(results['gt_keypoints_visible']) for results in samples],
        (len(samples), CLASSES, size, size), rotated)
    assert targets.boxes.heatmap.shape[0] == rotated.count(False) == len(targets.upright)
    for image, (_, expected) in enumerate(batches):
        assert rotated[image] == (expected.heatmap is None)
        assert_equals(targets, image, image - sum(rotated[:image]), expected, size)


def test_encode_equals_loop_on_maps_that_are_no_squares():
    rng = np.random.default_rng(1)
    for height, width in ((9, 17), (22, 8)):
        shape = (4, CLASSES, height, width)
        scenes = [make_people(rng, STRIDE * width, STRIDE * height, count)
                  for count in (6, 0, 1, 3)]
        targets = encode(CenterNetPoseCoder(STRIDE), scenes, shape)
        assert targets.upright is None
        matrix = np.array([[1 / STRIDE, 0, 0], [0, 1 / STRIDE, 0]])
        for image, people in enumerate(scenes):
            expected = sample_slowly(
                people, (CLASSES, JOINTS, height, width), matrix, matrix)
            assert_equals(targets, image, image, expected, width)


def test_a_person_without_joints_is_a_centre_alone():
    """Marked as any other; neither its size nor its offset is learnt."""
    nobody = [(0, (8.0, 8.0, 40.0, 40.0), [(0.0, 0.0, 0)] * JOINTS)]
    targets = encode(CenterNetPoseCoder(STRIDE), [nobody], (1, 1, 12, 12))
    assert targets.boxes.heatmap.num_peaks() == 1
    assert targets.boxes.weight.tolist() == [0]
    assert targets.displacement_weight.sum() == targets.keypoint_weight.sum() == 0
    assert targets.keypoint_heatmap.num_peaks() == 0


def test_joints_outside_the_map_are_not_learnt_but_their_person_is():
    outside = [(-0.1, 5.0, 2), (48.0, 5.0, 2), (5.0, -0.1, 1), (5.0, 40.0, 1)]
    for joint in outside:
        person = [(0, (8.0, 8.0, 40.0, 38.0), [joint] * JOINTS)]
        targets = encode(CenterNetPoseCoder(STRIDE), [person], (1, 1, 10, 12))
        assert targets.boxes.weight.tolist() == [1]
        assert targets.displacement_weight.sum() == targets.keypoint_weight.sum() == 0
    inside = [(0, (8.0, 8.0, 40.0, 38.0), [(47.9, 39.9, 1), (0.0, 0.0, 2)] + [(0, 0, 0)] * 3)]
    targets = encode(CenterNetPoseCoder(STRIDE), [inside], (1, 1, 10, 12))
    assert targets.keypoint_weight.tolist() == [[1, 1, 0, 0, 0]]
    assert targets.keypoint_cells[0, :2].tolist() == [9 * 12 + 11, 0]


def test_what_is_no_number_teaches_nothing():
    nan = float('nan')
    people = [(0, (8.0, 8.0, 40.0, 38.0), [(nan, 5.0, 2), (9.0, 9.0, 2)] + [(0, 0, 0)] * 3),
              (0, (nan, 8.0, 40.0, 38.0), [(9.0, 9.0, 2)] * JOINTS)]
    targets = encode(CenterNetPoseCoder(STRIDE), [people], (1, 1, 10, 12))
    assert targets.boxes.weight.tolist() == [1, 0]
    assert targets.keypoint_weight.tolist() == [[0, 1, 0, 0, 0], [0] * 5]
    assert all(torch.isfinite(value).all() for value in (
        targets.displacement, targets.keypoint_offset, targets.keypoint_heatmap.value))


@pytest.mark.parametrize('rotated', [None, [True, True]], ids=['upright', 'rotated'])
def test_batch_without_objects(rotated):
    targets = encode(CenterNetPoseCoder(STRIDE), [[], []], (2, 1, 4, 5), rotated)
    assert targets.displacement.shape == (0, JOINTS, 2)
    assert targets.keypoint_heatmap.to_dense().shape == (2, JOINTS, 4, 5)
    assert targets.boxes.heatmap.shape[0] == (0 if rotated else 2)
    assert targets.keypoint_heatmap.num_peaks() == targets.boxes.heatmap.num_peaks() == 0


def test_of_people_in_one_cell_the_last_counts_if_asked():
    people = [(0, (8.0, 8.0, 40.0, 40.0), [(9.0, 9.0, 2)] * JOINTS),
              (1, (9.0, 9.0, 39.0, 39.0), [(20.0, 9.0, 2)] * JOINTS)]
    for choice, weights in (('all', [1, 1]), ('last', [0, 1])):
        targets = encode(
            CenterNetPoseCoder(STRIDE, shared_cells=choice), [people], (1, 2, 12, 12))
        assert targets.boxes.weight.tolist() == weights
        assert targets.displacement_weight[:, 0].tolist() == weights
        assert targets.keypoint_weight[:, 0].tolist() == [1, 1]


def dense_slowly(people, shape):
    """{(joint, y, x): (Gaussian, displacement from that cell)} of one image; the largest
    Gaussian of those who have the joint, the last of equal ones."""
    found = {}
    height, width = shape
    matrix = np.array([[1 / STRIDE, 0, 0], [0, 1 / STRIDE, 0]])
    for person in people:
        alone = sample_slowly([person], (CLASSES, JOINTS, height, width), matrix, matrix)
        for (cx, cy), joint, (dx, dy) in alone.displacements:
            for y, x in zip(*np.nonzero(alone.heatmap.sum(axis=0))):
                value = alone.heatmap.sum(axis=0)[y, x]
                if value >= found.get((joint, y, x), (0, None))[0]:
                    found[joint, y, x] = value, (cx + dx - x, cy + dy - y)
    return found


def test_dense_displacement_equals_loop():
    rng = np.random.default_rng(2)
    height, width = 14, 19
    scenes = [make_people(rng, STRIDE * width, STRIDE * height, count) for count in (5, 0, 3)]
    targets = encode(CenterNetPoseCoder(STRIDE, dense_displacement=True), scenes,
                     (3, CLASSES, height, width))
    dense = targets.dense_displacement
    assert isinstance(dense, CellOwners)
    found = {}
    for position, owner, value in zip(*(part.tolist() for part in dense)):
        if value:
            plane, cell = divmod(position, height * width)
            n, joint = divmod(owner, JOINTS)
            assert plane % JOINTS == joint and plane // JOINTS == targets.boxes.images[n]
            y, x = divmod(cell, width)
            center = int(targets.boxes.cells[n])
            dx, dy = targets.displacement[n, joint].tolist()
            assert (plane // JOINTS, joint, y, x) not in found
            found[plane // JOINTS, joint, y, x] = value, (
                center % width + dx - x, center // width + dy - y)
    expected = {(image, *key): entry for image, people in enumerate(scenes)
                for key, entry in dense_slowly(people, (height, width)).items()}
    assert found.keys() == expected.keys()
    assert len(found) > 100
    for key, (value, displacement) in expected.items():
        assert found[key][0] == pytest.approx(value, abs=1e-6)
        assert found[key][1] == pytest.approx(displacement, abs=1e-4)


def perfect_outputs(targets, shape):
    """Network outputs that say exactly what the targets say."""
    batch, _, height, width = shape

    def logits(sparse):
        probability = sparse.to_dense().clamp(1e-6, 1 - 1e-6)
        return torch.logit(probability)

    def filled(values, images, cells):
        dense = torch.zeros(batch, height * width, values.shape[-1])
        dense[images, cells] = values
        return dense.mT.reshape(batch, -1, height, width)

    boxes = targets.boxes
    learnt = targets.keypoint_weight.flatten() > 0
    return dict(
        heatmap=logits(boxes.heatmap), keypoint_heatmap=logits(targets.keypoint_heatmap),
        wh=filled(boxes.wh, boxes.images, boxes.cells),
        offset=filled(boxes.offset, boxes.images, boxes.cells),
        keypoint_displacement=filled(
            targets.displacement.flatten(1), boxes.images, boxes.cells),
        keypoint_offset=filled(
            targets.keypoint_offset.flatten(0, 1)[learnt],
            boxes.images.repeat_interleave(JOINTS)[learnt],
            targets.keypoint_cells.flatten()[learnt]))


def stick_figures(rng, centers, spread):
    """People around given centres (px); each joint has a cell of its own, for a cell has one
    joint offset."""
    people, taken = [], set()
    for center in centers:
        half = rng.uniform(18, 26, 2)
        joints = []
        for _ in range(JOINTS):
            while True:
                x, y = center + rng.uniform(-spread, spread, 2) * half
                cell = int(x / STRIDE), int(y / STRIDE)
                if cell not in taken:
                    break
            taken.add(cell)
            joints.append((x, y, 2))
        people.append((int(rng.integers(CLASSES)), (*(center - half), *(center + half)), joints))
    return people


@pytest.mark.parametrize('noise', [0.0, 0.9], ids=['exact', 'shaken'])
def test_decode_returns_every_joint(noise):
    """Within 0.01 px, also of two people in neighbouring cells; and if the displacement is
    only nearly right, from the joint's peak."""
    rng = np.random.default_rng(3)
    height, width = 64, 80
    shape = (6, CLASSES, height, width)
    scenes = []
    for _ in range(shape[0]):
        grid = [(x, y) for x in range(45, 300, 70) for y in range(45, 230, 70)]
        centers = [np.array(grid[i]) + rng.uniform(0, 6, 2) for i in rng.permutation(12)[:5]]
        centers.append(centers[0] + [STRIDE, 0])  # the next cell
        scenes.append(stick_figures(rng, centers, spread=0.9))
    coder = CenterNetPoseCoder(STRIDE)
    targets = encode(coder, scenes, shape)
    outputs = perfect_outputs(targets, shape)
    outputs['keypoint_displacement'] += noise * (
        torch.rand(outputs['keypoint_displacement'].shape,
                   generator=torch.Generator().manual_seed(0)) - 0.5)
    decoded = coder.decode(**outputs)
    snapped = 0
    for image, people in enumerate(scenes):
        boxes, labels, points, _ = arrays(people)
        found = decoded.scores[image] > 0.99
        assert int(found.sum()) == len(people)
        for person in range(len(people)):
            index = (decoded.bboxes[image][found] - boxes[person]).abs().amax(dim=1).argmin()
            assert (decoded.bboxes[image][found][index] - boxes[person]).abs().max() < 0.01
            assert decoded.labels[image][found][index] == labels[person]
            error = (decoded.keypoints[image][found][index] - points[person]).norm(dim=-1)
            near_rivals = np.array([
                min(math.dist(points[person, j], points[rival, j])
                    for rival in range(len(people)) if rival != person) for j in range(JOINTS)])
            alone = torch.from_numpy(near_rivals > 2 * STRIDE * noise)
            assert error[alone].max() < 0.01
            snapped += int(alone.sum())
    assert snapped >= (180 if not noise else 165)


def random_output(rng, height, width):
    """Logits with distinct values whose joints' peaks lie around the regressed joints."""
    return dict(
        heatmap=rng.normal(-1, 2, (CLASSES, height, width)),
        wh=rng.uniform(-1, 14, (2, height, width)), offset=rng.uniform(0, 1, (2, height, width)),
        keypoint_displacement=rng.normal(0, 3, (2 * JOINTS, height, width)),
        keypoint_heatmap=rng.normal(-2.5, 2, (JOINTS, height, width)),
        keypoint_offset=rng.uniform(0, 1, (2, height, width)))


@pytest.mark.parametrize('missing', [
    (), ('offset', ), ('keypoint_offset', ), ('keypoint_heatmap', 'keypoint_offset')],
    ids=['all', 'no offset', 'no joint offset', 'no joint heat map'])
@pytest.mark.parametrize('count', [9, 1000])
def test_decode_equals_loop(missing, count):
    rng = np.random.default_rng(4)
    outputs = [random_output(rng, 13, 18) for _ in range(3)]
    batch = {name: torch.from_numpy(np.stack([output[name] for output in outputs])).float()
             for name in outputs[0] if name not in missing}
    decoded = CenterNetPoseCoder(STRIDE).decode(**batch, topk=count)
    kinds = dict(snapped=0, stayed=0)
    for image in range(3):
        output = {name: value[image].double().numpy() for name, value in batch.items()}
        for name in ('heatmap', 'keypoint_heatmap'):
            if name in output:
                output[name] = 1 / (1 + np.exp(-output[name]))
        expected = decode_slowly(output, count)
        found = decoded.scores[image] > 0
        assert int(found.sum()) == len(expected)
        for n, (score, label, box, joints) in enumerate(expected):
            assert float(decoded.scores[image, n]) == pytest.approx(score, abs=1e-6)
            assert int(decoded.labels[image, n]) == label
            assert decoded.bboxes[image, n].tolist() == pytest.approx(box, abs=1e-4)
            wanted = np.array(joints)
            np.testing.assert_allclose(
                decoded.keypoints[image, n], wanted[:, :2], atol=1e-4)
            np.testing.assert_allclose(
                decoded.keypoint_scores[image, n], wanted[:, 2], atol=1e-6)
            kinds['snapped'] += int((wanted[:, 2] != score).sum())
            kinds['stayed'] += int((wanted[:, 2] == score).sum())
    assert kinds['stayed'] > 50 and (kinds['snapped'] > 20) == ('keypoint_heatmap' not in missing)


def one_joint(peak, logit, displacement=(2.0, 1.0), wh=(12.0, 8.0), **options):
    """Decode one person at cell (10, 10) with one joint; ``peak`` (x, y) in cells."""
    heatmap, joint = torch.full((1, 1, 20, 24), -9.0), torch.full((1, 1, 20, 24), -9.0)
    heatmap[0, 0, 10, 10] = 2.0
    joint[0, 0, peak[1], peak[0]] = logit
    sizes = None if wh is None else torch.tensor(wh).view(1, 2, 1, 1).expand(1, 2, 20, 24)
    places = torch.tensor(displacement).view(1, 2, 1, 1).expand(1, 2, 20, 24)
    middle = torch.full((1, 2, 20, 24), 0.5)
    decoded = CenterNetPoseCoder(STRIDE, **options).decode(
        heatmap, places, wh=sizes, offset=middle, keypoint_heatmap=joint, keypoint_offset=middle,
        topk=5)
    return decoded, decoded.keypoint_scores[0, 0, 0] != decoded.scores[0, 0]


def test_a_joint_snaps_only_to_a_peak_that_is_good_near_and_inside():
    def snaps(*args, **options):
        return bool(one_joint(*args, **options)[1])

    assert snaps((12, 11), 3.0)
    assert snaps((12, 11), math.log(0.101 / 0.899))
    assert not snaps((12, 11), math.log(0.099 / 0.901))
    assert snaps((12, 11), math.log(0.099 / 0.901), snap_score=0.05)
    # The joint is at (12, 11); 0.3 of the longer side are 3.6 cells.
    assert snaps((12, 13), 3.0) and not snaps((7, 11), 3.0)
    assert snaps((7, 11), 3.0, snap_distance=0.4)
    # The box ends at y = 14.5, and with a height of 6 at 13.5.
    assert snaps((12, 14), 3.0) and not snaps((12, 14), 3.0, wh=(12.0, 6.0))
    decoded, _ = one_joint((12, 11), 3.0)
    assert decoded.keypoints[0, 0, 0].tolist() == [12.5 * STRIDE, 11.5 * STRIDE]
    decoded, _ = one_joint((1, 1), 3.0)
    assert decoded.keypoints[0, 0, 0].tolist() == [12 * STRIDE, 11 * STRIDE]
    assert decoded.keypoint_scores[0, 0, 0] == decoded.scores[0, 0]


def test_without_sizes_a_box_is_the_one_around_the_joints():
    """And a single joint's has no side to measure a distance by."""
    decoded, snapped = one_joint((12, 11), 3.0, wh=None)
    assert not snapped
    assert decoded.bboxes[0, 0].tolist() == [48, 44, 48, 44]
    rng = np.random.default_rng(5)
    output = {name: torch.from_numpy(value)[None].float()
              for name, value in random_output(rng, 12, 15).items() if name != 'wh'}
    decoded = CenterNetPoseCoder(STRIDE).decode(**output, topk=20)
    joints = decoded.keypoints
    assert torch.equal(decoded.bboxes, torch.cat((joints.amin(2), joints.amax(2)), dim=-1))
    assert (decoded.keypoint_scores != decoded.scores[..., None]).any()


class LargestResult(TorchDispatchMode):
    """Remembers the number of elements of the largest result of any operation."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result, ):
            if isinstance(value, torch.Tensor) and 'expand' not in str(func):
                self.largest = max(self.largest, value.untyped_storage().nbytes())
        return result


def test_memory_of_decoding_is_bounded():
    """16 images, 100 people, 17 joints, 100 peaks: no result is larger than their distances or
    a branch's map."""
    batch, people, joints, size = 16, 100, 17, 96
    channels = dict(heatmap=1, wh=2, offset=2, keypoint_displacement=2 * joints,
                    keypoint_heatmap=joints, keypoint_offset=2)
    outputs = {name: torch.zeros(batch, count, size, size, device='meta')
               for name, count in channels.items()}
    with LargestResult() as memory:
        decoded = CenterNetPoseCoder(STRIDE).decode(**outputs, topk=people)
    assert decoded.keypoints.shape == (batch, people, joints, 2)
    distances = batch * people * joints * people
    assert 4 * distances <= memory.largest <= 4 * max(
        distances, batch * 2 * joints * size * size)


@pytest.mark.parametrize('options, words', [
    (dict(snap_score=-1), 'snap_score'), (dict(snap_distance=-0.1), 'snap_distance'),
    (dict(radius='mmdet'), 'radius'), (dict(stride=0), 'stride')])
def test_bad_settings(options, words):
    with pytest.raises(ValueError, match=words):
        CenterNetPoseCoder(**options)
