"""Joints go where their pixels go; compared with the original's definitions in loops."""
import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import RandomFlip, Resize
from mmdet.structures.bbox import HorizontalBoxes

from mmdet_centernet.datasets.transforms import (
    CenterAffine,
    CenterPad,
    CenterResize,
    LoadKeypoints,
    PackInputs,
)
from mmdet_centernet.errors import UserError

FLIP = [0, 2, 1, 4, 3]
SIZE = (96, 64)


def make_sample(height=70, width=110, count=3, seed=0, load=True):
    """As mmdet's LoadAnnotations leaves it; with ``load`` after LoadKeypoints."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, [width * .7, height * .7], (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(3, 30, (count, 2))], axis=1)
    sample = dict(
        img=np.zeros((height, width, 3), np.uint8), img_path='a.png', img_id=5,
        img_shape=(height, width), ori_shape=(height, width), flip_indices=FLIP,
        instances=[dict(
            keypoints=rng.uniform(0, [width, height], (len(FLIP), 2)).astype(np.float32),
            keypoints_visible=rng.integers(0, 3, len(FLIP)).astype(np.float32))
            for _ in range(count)],
        gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes.astype(np.float32))),
        gt_bboxes_labels=np.arange(count), gt_ignore_flags=np.zeros(count, dtype=bool))
    return LoadKeypoints()(sample) if load else sample


def fix_draws(transform, center, scale, flip, angle=0.):
    transform._draw = lambda width, height: (center, scale, flip)
    transform._draw_angle = lambda: angle
    return transform


def original_warp(center, scale, degrees, out_size):
    """The original's ``get_affine_transform``, derived anew from its definition.

    Three points of the image go to three of the output: the centre to the middle; the point
    half of ``scale`` straight above it, first turned about it by the angle (x towards y), to
    the point half the output's width above the middle; and the corner that completes both
    to a right angle.
    """
    radians = np.pi * degrees / 180
    center, middle = np.array(center, float), np.array(out_size) / 2
    up, out_up = np.array([0, -scale / 2]), np.array([0, -out_size[0] / 2])
    turned = np.array([up[0] * np.cos(radians) - up[1] * np.sin(radians),
                       up[0] * np.sin(radians) + up[1] * np.cos(radians)])

    def corner(first, second):
        along = first - second
        return second + np.array([-along[1], along[0]])
    source = [center, center + turned, corner(center, center + turned)]
    target = [middle, middle + out_up, corner(middle, middle + out_up)]
    # Solve [x y 1] M^T = [x' y'].
    return np.linalg.solve(np.column_stack([source, np.ones(3)]), target).T


def reference(sample, center, scale, flip, angle, out_size):
    """The original's sampling of joints and boxes (``MultiPoseDataset``), one by one."""
    height, width = sample['img'].shape[:2]
    center = [width - center[0] - 1, center[1]] if flip else center
    # The image fits where the tighter side does; the warp is given by the width.
    extent = out_size[0] / min(out_size[0] / width, out_size[1] / height) * scale
    warp = original_warp(center, extent, angle, out_size)
    upright = original_warp(center, extent, 0, out_size)
    joints, flags, boxes = [], [], []
    for box, points, visible in zip(sample['gt_bboxes'].tensor.double().numpy(),
                                    sample['gt_keypoints'], sample['gt_keypoints_visible']):
        x1, y1, x2, y2 = box
        points, visible = points.astype(float).tolist(), visible.tolist()
        if flip:
            x1, x2 = width - x2 - 1, width - x1 - 1
            points = [[width - x - 1, y] for x, y in points]
            for first, second in ((1, 2), (3, 4)):
                points[first], points[second] = points[second], points[first]
                visible[first], visible[second] = visible[second], visible[first]
        box = [*(upright @ [x1, y1, 1]), *(upright @ [x2, y2, 1])]
        for index in range(4):
            box[index] = min(max(box[index], 0), out_size[index % 2])
        if angle or (box[2] > box[0] and box[3] > box[1]):
            joints.append([warp @ [x, y, 1] for x, y in points])
            flags.append(visible)
            boxes.append(box)
    return joints, flags, boxes


@pytest.mark.parametrize('height, width', [(70, 110), (90, 41)])
@pytest.mark.parametrize('size', [(64, 64), SIZE])
def test_joints_of_random_crops_are_the_originals(height, width, size):
    rng = np.random.default_rng(height)
    kept = dropped = 0
    for seed in range(40):
        sample = make_sample(height, width, seed=seed)
        center = rng.uniform(0, width), rng.uniform(0, height)
        draws = center, rng.uniform(.3, 1.3), seed % 2 == 0, [0, 33.3, -70][seed % 3]
        joints, flags, boxes = reference(sample, *draws, size)
        transform = fix_draws(CenterAffine(size, rotate_prob=1, rotate=30), *draws)
        out = transform(sample)
        assert out['gt_keypoints'].dtype == out['gt_keypoints_visible'].dtype == np.float32
        assert out['gt_keypoints'].shape == (len(joints), len(FLIP), 2)
        np.testing.assert_allclose(
            out['gt_keypoints'], np.reshape(joints, (-1, len(FLIP), 2)), atol=1e-3)
        np.testing.assert_array_equal(
            out['gt_keypoints_visible'], np.reshape(flags, (-1, len(FLIP))))
        np.testing.assert_allclose(
            out['gt_bboxes'].tensor, np.reshape(boxes, (-1, 4)), atol=1e-3)
        assert len(out['gt_bboxes_labels']) == len(out['gt_ignore_flags']) == len(joints)
        # What tells the head that an image is turned.
        assert (out['homography_matrix'][0, 1] != 0) == (draws[3] != 0)
        np.testing.assert_array_equal(out['homography_matrix'], out['keypoints_homography'])
        PackInputs()(out)
        kept, dropped = kept + len(joints), dropped + 3 - len(joints)
    assert kept > 60 and dropped > 3


PLACES_BY_CLASS = np.array([[0, 2, 1, 3, 4], [4, 3, 2, 1, 0], [0, 1, 2, 3, 4]])


def flipped_with_loops(points, visible, labels, width):
    """Each object flipped by the pairs of its own class."""
    points, visible = points.astype(float).tolist(), visible.tolist()
    for row, label in enumerate(labels):
        for keypoint, (x, y) in enumerate(points[row]):
            points[row][keypoint] = [width - x - 1, y]
        for first, second in {0: [(1, 2)], 1: [(0, 4), (1, 3)], 2: []}[label]:
            for values in (points[row], visible[row]):
                values[first], values[second] = values[second], values[first]
    return points, visible


@pytest.mark.parametrize('count', [0, 1, 7])
def test_each_object_is_flipped_by_the_skeleton_of_its_class(count):
    for seed in range(10):
        sample = make_sample(count=count, seed=seed, load=False)
        sample['flip_indices'] = PLACES_BY_CLASS
        labels = np.random.default_rng(seed).integers(0, 3, count)
        sample['gt_bboxes_labels'] = labels
        sample = LoadKeypoints()(sample)
        # The image lies inside the crop, so that every object stays.
        width, height = 110, 70
        points, visible = flipped_with_loops(
            sample['gt_keypoints'], sample['gt_keypoints_visible'], labels, width)
        out = fix_draws(CenterAffine((width, height)), (width / 2, height / 2), 1, True)(sample)
        shift = width / 2 - (width - width / 2 - 1)  # of the middle, which is not a pixel's
        assert out['gt_keypoints'].shape == (count, 5, 2)
        np.testing.assert_allclose(
            out['gt_keypoints'] - [shift, 0], np.reshape(points, (-1, 5, 2)), atol=1e-3)
        np.testing.assert_array_equal(
            out['gt_keypoints_visible'], np.reshape(visible, (-1, 5)))
        assert out['gt_keypoints'].dtype == out['gt_keypoints_visible'].dtype == np.float32


@pytest.mark.parametrize('transform', [
    CenterAffine(SIZE, flip_prob=0), CenterAffine(SIZE, flip_prob=1),
    CenterAffine(SIZE, rotate_prob=1, rotate=60), CenterPad(), CenterResize(SIZE),
    CenterResize((64, 160), scale=1.5), CenterPad(scale=.5)], ids=repr)
def test_joints_stay_on_their_pixels(transform):
    """A white spot in a black image is found where its joint went."""
    flip_indices = dict(zip(range(len(FLIP)), FLIP))
    seen = 0
    for seed in range(8):
        np.random.seed(seed)
        sample = make_sample(count=1, seed=seed)
        sample['gt_bboxes'].tensor[:] = torch.tensor([0., 0., 110., 70.])
        spots = np.array([[20, 20], [80, 22], [55, 35], [30, 50], [85, 52]])
        sample['gt_keypoints'][0] = spots
        images = []
        for x, y in spots:
            sample['img'][:] = 0
            cv2.circle(sample['img'], (int(x), int(y)), 4, (255, 255, 255), -1)
            images.append(sample['img'].copy())
        # Every spot by the same matrix, and so the same draws.
        state = np.random.get_state()
        for joint, image in enumerate(images):
            np.random.set_state(state)
            out = transform(dict(sample, img=image.copy(), gt_bboxes=sample['gt_bboxes'].clone()))
            flipped = np.linalg.det(out['homography_matrix'][:2, :2]) < 0
            place = out['gt_keypoints'][0, flip_indices[joint] if flipped else joint]
            height, width = out['img_shape']
            if (place < 12).any() or (place > [width - 12, height - 12]).any():
                continue
            weights = out['img'][..., 0].astype(float)
            center = [(weights * axis).sum() / weights.sum()
                      for axis in np.indices(weights.shape)[::-1]]
            np.testing.assert_allclose(place, center, atol=.7)
            seen += 1
    assert seen >= 8


def test_positive_angles_turn_counter_clockwise():
    """As the original's ``rot`` does: what is right of the middle goes up."""
    sample = make_sample(100, 100, count=1)
    sample['gt_keypoints'][0, 0] = [60, 50]
    out = fix_draws(CenterAffine((100, 100), flip_prob=0, rotate_prob=1, rotate=1),
                    (50, 50), 1, False, 90)(sample)
    np.testing.assert_allclose(out['gt_keypoints'][0, 0], [50, 40], atol=1e-4)


def test_angles_are_drawn_as_in_the_original():
    transform = CenterAffine(SIZE, rotate_prob=.6, rotate=10)
    np.random.seed(0)
    angles = np.array([transform._draw_angle() for _ in range(4000)])
    turned = angles[angles != 0]
    assert len(turned) / len(angles) == pytest.approx(.6, abs=.03)
    assert np.abs(turned).max() == 20
    assert np.mean(np.abs(turned) == 20) == pytest.approx(.0455, abs=.015)
    assert turned.std() == pytest.approx(9.6, rel=.05) and abs(turned.mean()) < .6


def test_crops_without_rotation_are_what_they_were():
    """Neither joints nor the option change the random numbers of the rest."""
    outs = []
    for load, prob in ((False, 0), (True, 0), (True, 1e-12)):
        np.random.seed(3)
        transform = CenterAffine(SIZE, rotate_prob=prob, rotate=30)
        outs.append(transform(make_sample(load=load))['homography_matrix'])
    np.testing.assert_array_equal(outs[0], outs[1])
    np.testing.assert_array_equal(outs[0], outs[2])
    transform = CenterAffine(SIZE)
    np.random.seed(3)
    transform(make_sample())
    rest = np.random.random()
    np.random.seed(3)
    transform._draw(110, 70)
    assert np.random.random() == rest


def test_turned_images_keep_every_object():
    """Also those whose upright box is outside; their rows stay together."""
    sample = make_sample(100, 100, count=2)
    sample['gt_bboxes'].tensor[:] = torch.tensor([[0., 0., 10., 10.], [45., 45., 52., 55.]])
    draws = (60, 60), .2, False
    for angle, labels, boxes in ((0, [1], [[0, 0, 2, 5]]),
                                 (5, [0, 1], [[0, 0, 0, 0], [0, 0, 2, 5]])):
        out = fix_draws(CenterAffine((20, 20), rotate_prob=1, rotate=9), *draws, angle)(
            dict(sample, gt_bboxes=sample['gt_bboxes'].clone()))
        assert out['gt_bboxes_labels'].tolist() == labels
        np.testing.assert_allclose(out['gt_bboxes'].tensor, boxes, atol=1e-4)
        np.testing.assert_array_equal(
            out['gt_keypoints_visible'], sample['gt_keypoints_visible'][labels])


@pytest.mark.parametrize('transform', [
    CenterAffine(SIZE, flip_prob=1, rotate_prob=1, rotate=5), CenterPad(), CenterResize(SIZE)],
    ids=repr)
def test_no_objects(transform):
    out = transform(make_sample(count=0))
    assert out['gt_keypoints'].shape == (0, 5, 2)
    assert out['gt_keypoints_visible'].shape == (0, 5)
    found = PackInputs()(out)['data_samples'].gt_instances
    assert found.keypoints.shape == (0, 5, 2) and found.keypoints_visible.shape == (0, 5)


def test_joints_cannot_be_flipped_without_pairs():
    sample = make_sample()
    del sample['flip_indices']
    with pytest.raises(UserError, match=r'a\.png has keypoints but no flip_indices'):
        CenterAffine(SIZE, flip_prob=.01)(sample)
    CenterAffine(SIZE, flip_prob=0)(sample)


def test_only_joints_are_turned():
    with pytest.raises(UserError, match=(
            r'CenterAffine\(rotate_prob=0.1\) rotates keypoints only, and a\.png has none: put '
            'mmdet_centernet.LoadKeypoints before it')):
        CenterAffine(SIZE, rotate_prob=.1, rotate=5)(make_sample(load=False))


@pytest.mark.parametrize('options', [
    dict(rotate_prob=-.1), dict(rotate_prob=1.1), dict(rotate=-1)])
def test_rotation_out_of_range(options):
    with pytest.raises(UserError, match='0 <= rotate_prob <= 1 and rotate >= 0'):
        CenterAffine(SIZE, **options)


def test_load_keypoints():
    sample = make_sample(count=2)
    for row, instance in enumerate(sample['instances']):
        np.testing.assert_array_equal(sample['gt_keypoints'][row], instance['keypoints'])
        np.testing.assert_array_equal(
            sample['gt_keypoints_visible'][row], instance['keypoints_visible'])
    assert sample['gt_keypoints'].dtype == sample['gt_keypoints_visible'].dtype == np.float32
    del sample['flip_indices']
    with pytest.raises(UserError, match=r'a\.png comes from a data set without keypoints'):
        LoadKeypoints()(sample)


def test_packing():
    sample = make_sample()
    sample['gt_ignore_flags'][1] = True
    packed = PackInputs(meta_keys=('img_id', ))(sample)
    assert packed['inputs'].shape == (3, 70, 110)
    found = packed['data_samples']
    assert found.metainfo.keys() == {'img_id', 'homography_matrix'}
    np.testing.assert_array_equal(found.homography_matrix, np.eye(3))
    for instances, rows in ((found.gt_instances, [0, 2]), (found.ignored_instances, [1])):
        assert instances.labels.tolist() == rows
        np.testing.assert_array_equal(instances.keypoints, sample['gt_keypoints'][rows])
        np.testing.assert_array_equal(
            instances.keypoints_visible, sample['gt_keypoints_visible'][rows])
        assert instances.keypoints.dtype == instances.keypoints_visible.dtype == torch.float32


def test_packing_as_mmdet_where_nothing_is_annotated():
    """As in an inferencer."""
    sample = dict(img=make_sample()['img'], img_id=3)
    found = PackInputs()(LoadKeypoints()(CenterPad()(sample)))['data_samples']
    assert 'keypoints' not in found.gt_instances
    assert found.homography_matrix[0, 2] == 9


def test_truth_of_a_test_sample_stays_in_the_original_image():
    sample = make_sample(load=False)
    pipeline = Compose([CenterPad(), LoadKeypoints(), PackInputs()])
    found = pipeline(sample)['data_samples']
    np.testing.assert_array_equal(
        found.gt_instances.keypoints, [item['keypoints'] for item in sample['instances']])
    assert found.homography_matrix[0, 2] == 9


@pytest.mark.parametrize('transform', [
    RandomFlip(prob=1.), Resize(scale=(220, 140)),
    lambda sample: dict(sample, homography_matrix=np.diag([1, 1.01, 1]))])
def test_joints_left_behind_are_noticed(transform):
    words = 'moved the image but not its keypoints in a.png: crop, scale and flip with'
    with pytest.raises(UserError, match=words):
        PackInputs()(transform(make_sample()))
    with pytest.raises(UserError, match=words):
        PackInputs()(CenterResize(SIZE)(transform(make_sample())))
    # Before the joints are loaded it is somebody else's to know.
    PackInputs()(LoadKeypoints()(transform(make_sample(load=False))))


def test_joints_follow_several_steps():
    """Before and after loading, with the joints in the original image's pixels at first."""
    sample = make_sample(load=False)
    points = np.array([instance['keypoints'] for instance in sample['instances']])
    steps = [CenterPad(), LoadKeypoints(), CenterResize(SIZE), CenterPad(scale=.5)]
    found = Compose([*steps, PackInputs()])(sample)['data_samples']
    # 110 x 70 fits into 96 x 64 at 2 / 3 of the padded 128 x 96; then all is halved and padded.
    zoom = 64 / 96
    middle = (np.array(SIZE) - np.array([128, 96]) * zoom) / 2
    expected = (points * zoom + middle) * .5 + [(64 - 48) / 2, (64 - 32) / 2]
    np.testing.assert_allclose(found.gt_instances.keypoints, expected, atol=1e-3)


def test_objects_without_their_joints_are_noticed():
    sample = make_sample()
    sample['gt_bboxes'] = sample['gt_bboxes'][:2]
    sample['gt_ignore_flags'] = sample['gt_ignore_flags'][:2]
    with pytest.raises(UserError, match=(
            r'left 3 objects with keypoints beside 2 boxes in a\.png')):
        PackInputs()(sample)
