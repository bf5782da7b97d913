"""3D boxes and cameras go with their images; compared with the original's definitions in loops."""
import copy
import itertools
import random

import cv2
import numpy as np
import pytest
import torch
from helpers.cases import case
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import Compose
from mmdet.datasets.transforms import (
    Expand,
    LoadAnnotations,
    RandomAffine,
    RandomFlip,
    RandomShift,
    Resize,
)
from mmdet.structures.bbox import HorizontalBoxes

from mmdet_centernet.datasets.transforms import (
    CenterAffine,
    CenterAffine3D,
    CenterPad,
    CenterResize,
    FilterBoxes3D,
    LoadBoxes3D,
    PackMono3DInputs,
)
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.affine import warp_points
from mmdet_centernet.ops.camera import alpha_to_rotation_y, box_corners, project

SIZE = (128, 40)


def camera(width=124, height=37, focal=72.15):
    """Much like KITTI's: beside the frame's origin, the middle not quite the image's."""
    return np.array([[focal, 0, width / 2 - 1.3, 4.48], [0, focal, height / 2 - 2.7, -.21],
                     [0, 0, 1, .0027]])


def make_boxes(rng, count):
    """3D boxes in front of the camera."""
    z = rng.uniform(6, 60, count)
    return np.column_stack((
        rng.uniform(-.7, .7, count) * z, rng.uniform(.5, 2, count), z,
        rng.uniform(.5, 4, (count, 3)), rng.uniform(-np.pi, np.pi, count)))


def projected_corners(boxes_3d, cam2img):
    return project(box_corners(torch.as_tensor(boxes_3d, dtype=torch.float64)),
                   torch.as_tensor(cam2img, dtype=torch.float64)).numpy()


def make_sample(height=37, width=124, count=4, seed=0, load=True):
    """As the data set gives it and mmdet's LoadAnnotations leaves it; 2D boxes are tight."""
    rng = np.random.default_rng(seed)
    boxes_3d, cam2img = make_boxes(rng, count), camera(width, height)
    instances = []
    for box in boxes_3d:
        corners = projected_corners(box, cam2img)
        low, high = corners.min(0), corners.max(0)
        u = torch.tensor([(low[0] + high[0]) / 2])
        ray = alpha_to_rotation_y(torch.zeros(1), u, torch.as_tensor(cam2img))
        instances.append(dict(
            bbox=[*low, *high], bbox_label=int(rng.integers(3)), ignore_flag=0,
            bbox_3d=box.tolist(), alpha=(box[6] - ray.item() + np.pi) % (2 * np.pi) - np.pi))
    sample = dict(
        img=np.zeros((height, width, 3), np.uint8), img_path='a.png', img_id='000123',
        img_shape=(height, width), ori_shape=(height, width), cam2img=cam2img,
        instances=instances)
    return Compose([LoadAnnotations(with_bbox=True), LoadBoxes3D()])(sample) if load else sample


def put_boxes(sample, box):
    """Give all objects one 2D box, as if loaded so."""
    boxes = torch.tensor([box], dtype=torch.float32).repeat(len(sample['gt_bboxes']), 1)
    return dict(sample, gt_bboxes=HorizontalBoxes(boxes), loaded_bboxes=boxes.numpy().copy())


def check_projections(sample, out):
    """Corners project with the new camera to where the homography moves the old ones."""
    assert out['cam2img'].dtype == np.float64 and out['cam2img'].shape == (3, 4)
    moved = warp_points(
        projected_corners(sample['gt_bboxes_3d'], sample['cam2img']), out['homography_matrix'])
    new = projected_corners(out['gt_bboxes_3d'], out['cam2img'])
    for before, after in zip(moved, new, strict=True):
        # A flipped box has its left corners where the right ones were.
        order = [np.lexsort(np.round(points, 3).T) for points in (before, after)]
        np.testing.assert_allclose(after[order[1]], before[order[0]], atol=2e-3)


def keep_all(transform):
    """No object is dropped: each fills the image."""
    return lambda sample: transform(put_boxes(sample, (0, 0, 124, 37)))


def original_warp(center, scale, out_size):
    """The original's ``get_affine_transform`` without rotation, derived from its definition.

    Three points of the image go to three of the output: the center to the middle; the point half
    of the first scale above it to the one half the output's width above the middle; and the
    corner that completes both to a right angle. The other scale and the output's height have no
    say in the zoom.
    """
    center, middle = np.array(center, float), np.array(out_size) / 2
    up, out_up = np.array([0, -scale[0] / 2]), np.array([0, -out_size[0] / 2])

    def corner(first, second):
        along = first - second
        return second + np.array([-along[1], along[0]])
    source = [center, center + up, corner(center, center + up)]
    target = [middle, middle + out_up, corner(middle, middle + out_up)]
    # Solve [x y 1] M^T = [x' y'].
    return np.linalg.solve(np.column_stack([source, np.ones(3)]), target).T


def original_sampling(sample, size, prob, scale_jitter, shift_jitter):
    """The original's sampling of an image with 3D boxes (``DddDataset``), one by one."""
    height, width = sample['img'].shape[:2]
    center, scale, augmented = [width / 2, height / 2], [width, height], False
    if np.random.random() < prob:
        augmented = True
        factor = np.clip(np.random.randn() * scale_jitter + 1, 1 - scale_jitter,
                         1 + scale_jitter)
        scale = [side * factor for side in scale]
        for axis, side in enumerate((width, height)):
            center[axis] += side * np.clip(
                np.random.randn() * shift_jitter, -2 * shift_jitter, 2 * shift_jitter)
    warp = original_warp(center, scale, size)
    rows, boxes = [], []
    for row, (x1, y1, x2, y2) in enumerate(sample['gt_bboxes'].tensor.double().tolist()):
        box = [*(warp @ [x1, y1, 1]), *(warp @ [x2, y2, 1])]
        for index in range(4):
            box[index] = min(max(box[index], 0), size[index % 2])
        if box[2] > box[0] and box[3] > box[1]:
            rows.append(row)
            boxes.append(box)
    return warp, augmented, rows, boxes


def check_sampling(height, width, size):
    options = dict(aug_prob=.7, scale_jitter=.4, shift_jitter=.2)
    dropped = done = 0
    for seed in range(60):
        sample = make_sample(height, width, seed=seed)
        boxes_3d, labels = sample['gt_bboxes_3d'], sample['gt_bboxes_labels']
        np.random.seed(seed)
        warp, augmented, rows, boxes = original_sampling(sample, size, *options.values())
        rest = np.random.random()
        np.random.seed(seed)
        out = CenterAffine3D(size, **options)(dict(sample))
        assert np.random.random() == rest
        np.testing.assert_allclose(out['homography_matrix'][:2], warp, rtol=1e-5, atol=1e-4)
        assert out['augmented'] is augmented
        assert out['img'].shape == (size[1], size[0], 3) and out['img_shape'] == size[::-1]
        np.testing.assert_allclose(
            out['gt_bboxes'].tensor, np.reshape(boxes, (-1, 4)), atol=1e-3)
        np.testing.assert_array_equal(out['gt_bboxes_3d'], boxes_3d[rows])
        np.testing.assert_array_equal(out['gt_bboxes_labels'], labels[rows])
        assert len(out['gt_alpha']) == len(out['gt_ignore_flags']) == len(rows)
        dropped, done = dropped + len(labels) - len(rows), done + augmented
    assert dropped > 10 and 30 < done < 55


def test_sampling_equals_the_original():
    for size, (height, width) in itertools.product([SIZE, (64, 96)], [(37, 124), (90, 61)]):
        with case(size, height, width):
            check_sampling(height, width, size)


def test_draws_are_clipped_and_flips_have_their_probability():
    transform = CenterAffine3D(SIZE, aug_prob=.5, flip_prob=.3)
    np.random.seed(0)
    draws = [transform._draw(200, 100) for _ in range(4000)]
    augmented = [draw for draw in draws if draw[0]]
    assert len(augmented) / len(draws) == pytest.approx(.5, abs=.03)
    assert np.mean([draw[3] for draw in draws]) == pytest.approx(.3, abs=.03)
    scales = np.array([draw[1] for draw in augmented])
    assert scales.min() == pytest.approx(.6) and scales.max() == pytest.approx(1.4)
    # Beyond one deviation lies nearly a third.
    assert np.mean(np.abs(scales - 1) > .3999) == pytest.approx(.317, abs=.04)
    shifts = np.array([draw[2] for draw in augmented])
    np.testing.assert_allclose(np.abs(shifts).max(0), [40, 20])
    np.testing.assert_allclose(shifts.std(0), [19, 9.5], rtol=.1)
    assert all(draw[1:3] == (1, (0, 0)) for draw in draws if not draw[0])


@pytest.mark.parametrize('transform', [
    CenterAffine3D(SIZE, 0), CenterAffine3D(SIZE, 1), CenterAffine3D((96, 96), 1, fit='whole'),
    CenterAffine3D(SIZE, 1, flip_prob=1), CenterAffine3D((80, 80), 0, flip_prob=1), CenterPad(),
    CenterPad(scale=.5), CenterResize(SIZE, fit='width'), CenterResize((64, 64)),
    CenterResize((64, 64), fit='width', scale=1.5)], ids=repr)
def test_cameras_go_with_their_images(transform):
    for seed in range(5):
        np.random.seed(seed)
        sample = make_sample(seed=seed)
        out = keep_all(transform)(sample)
        assert len(out['gt_bboxes_3d']) == 4
        check_projections(sample, out)
        np.testing.assert_array_equal(out['cam2img_homography'], out['homography_matrix'])
        # Still a camera that looks the same way.
        assert out['cam2img'][0, 0] > 0 and out['cam2img'][1, 1] > 0
        np.testing.assert_array_equal(out['cam2img'][2], sample['cam2img'][2])


@pytest.mark.parametrize('flip', [0, 1])
def test_objects_stay_on_their_pixels(flip):
    """A white spot where an object's middle is seen is found where it is seen then."""
    seen = 0
    for seed in range(12):
        np.random.seed(seed)
        sample = make_sample(120, 400, count=1, seed=seed)
        box = sample['gt_bboxes_3d'].copy()
        spot = projected_corners(box[0], sample['cam2img']).mean(0)
        cv2.circle(sample['img'], tuple(int(round(v)) for v in spot), 4, (255, ) * 3, -1)
        out = CenterAffine3D((320, 100), 1, flip_prob=flip)(put_boxes(sample, (0, 0, 400, 120)))
        place = projected_corners(out['gt_bboxes_3d'][0], out['cam2img']).mean(0)
        if (place < 10).any() or (place > [310, 90]).any():
            continue
        weights = out['img'][..., 0].astype(float)
        center = [(weights * axis).sum() / weights.sum()
                  for axis in np.indices(weights.shape)[::-1]]
        np.testing.assert_allclose(place, center, atol=1)
        assert (out['gt_bboxes_3d'][0, 0] == -box[0, 0]) == bool(flip)
        seen += 1
    assert seen >= 5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), width=st.integers(20, 300), focal=st.floats(30, 500))
def test_flipped_boxes_project_into_flipped_images(seed, width, focal):
    rng = np.random.default_rng(seed)
    sample = make_sample(50, width, count=3, seed=seed)
    sample['cam2img'] = camera(width, 50, focal)
    boxes_3d = make_boxes(rng, 3).astype(np.float32)
    boxes_3d[0, 6] = rng.choice([-np.pi, 0, np.pi / 2])
    u = torch.from_numpy(rng.uniform(0, width, 3))
    old_camera = torch.from_numpy(sample['cam2img'])
    sample['gt_bboxes_3d'] = boxes_3d
    # alpha through the ray: rotation_y less the angle of the column.
    rays = alpha_to_rotation_y(torch.zeros(3), u, old_camera).numpy()
    sample['gt_alpha'] = (boxes_3d[:, 6] - rays).astype(np.float32)
    # Same size, not scaled: only the flip, and the original's pixel between the middles.
    out = CenterAffine3D((width, 50), 0, flip_prob=1)(put_boxes(sample, (0, 0, width, 50)))
    np.testing.assert_allclose(
        out['homography_matrix'], [[-1, 0, width], [0, 1, 0], [0, 0, 1]])
    old = projected_corners(boxes_3d, sample['cam2img'])
    new = projected_corners(out['gt_bboxes_3d'], out['cam2img'])
    for axis, expected in enumerate((width - old[..., 0], old[..., 1])):
        np.testing.assert_allclose(
            np.sort(new[..., axis], 1), np.sort(expected, 1), atol=.05, rtol=1e-4)
    np.testing.assert_array_equal(out['gt_bboxes_3d'][:, 1:6], boxes_3d[:, 1:6])
    again = alpha_to_rotation_y(
        torch.from_numpy(out['gt_alpha']).double(), width - u,
        torch.from_numpy(out['cam2img'])).numpy()
    turn = again - out['gt_bboxes_3d'][:, 6]
    np.testing.assert_allclose(np.cos(turn), 1, atol=1e-6)
    for angles in (out['gt_alpha'], out['gt_bboxes_3d'][:, 6]):
        assert angles.dtype == np.float32
        assert (angles >= -np.pi - 1e-6).all() and (angles < np.pi).all()
    # Twice is not at all.
    back = CenterAffine3D((width, 50), 0, flip_prob=1)(out)
    np.testing.assert_allclose(back['cam2img'], sample['cam2img'], atol=1e-9)
    np.testing.assert_allclose(back['gt_bboxes_3d'][:, :6], boxes_3d[:, :6])
    assert back['augmented'] is False


def test_fit_to_width_or_whole():
    np.testing.assert_allclose(
        CenterResize(SIZE, fit='width')(make_sample(80, 64))['homography_matrix'],
        [[2, 0, 0], [0, 2, -60], [0, 0, 1]])
    np.testing.assert_allclose(
        CenterResize(SIZE)(make_sample(80, 64))['homography_matrix'],
        [[.5, 0, 48], [0, .5, 0], [0, 0, 1]])
    for fit in ('width', 'whole'):
        np.testing.assert_array_equal(
            CenterResize(SIZE, fit=fit)(make_sample(80, 64))['homography_matrix'],
            CenterAffine3D(SIZE, 0, fit=fit)(make_sample(80, 64))['homography_matrix'])
    # Much as KITTI's 1242 x 375: about the width, a little is cut above and below.
    matrix = CenterResize((1280, 384), fit='width')(make_sample(375, 1242))['homography_matrix']
    np.testing.assert_allclose(matrix[1], [0, 1280 / 1242, 192 - 187.5 * 1280 / 1242], rtol=1e-5)


def test_several_steps():
    sample = make_sample()
    out = CenterPad()(keep_all(CenterAffine3D(SIZE, 1, flip_prob=1))(CenterPad()(sample)))
    check_projections(make_sample(), out)
    assert out['augmented'] is True


def test_resizing_of_mmdet_takes_the_camera_along():
    """Before, between and after; also where its two zooms differ."""
    shrink, stretch = Resize(scale=(62, 18), keep_ratio=True), Resize(scale=(200, 40))
    for steps in ([shrink], [stretch], [stretch, CenterResize(SIZE)],
                  [CenterAffine3D(SIZE, 1), stretch], [stretch, CenterAffine3D(SIZE, 1), shrink],
                  [shrink, CenterAffine3D(SIZE, 0, flip_prob=1), stretch]):
        sample = put_boxes(make_sample(), (0, 0, 124, 37))
        np.random.seed(1)
        packed = PackMono3DInputs()(Compose(steps)(sample))['data_samples']
        check_projections(make_sample(), dict(
            gt_bboxes_3d=packed.gt_instances.bboxes_3d, cam2img=packed.cam2img,
            homography_matrix=packed.homography_matrix))


def test_packing_twice_moves_the_camera_once():
    sample = Resize(scale=(248, 74))(make_sample())
    first = PackMono3DInputs()(sample)['data_samples'].cam2img
    np.testing.assert_allclose(first[0, 0], 144.3)
    np.testing.assert_array_equal(PackMono3DInputs()(sample)['data_samples'].cam2img, first)


@pytest.mark.parametrize('transform', [
    RandomFlip(prob=1.),
    lambda sample: dict(sample, homography_matrix=np.array(
        [[1, .1, 0], [0, 1, 0], [0, 0, 1.]]))], ids=['flip', 'shear'])
def test_boxes_left_behind_are_noticed(transform):
    np.random.seed(0)
    words = ('flipped or rotated a.png but neither its camera nor its 3D boxes: flip with '
             r'mmdet_centernet.CenterAffine3D\(flip_prob=...\) instead of mmdet.RandomFlip')
    for steps in ([transform], [CenterAffine3D(SIZE, 1), transform],
                  [transform, CenterResize(SIZE)],
                  [CenterAffine3D(SIZE, 1, flip_prob=1), transform]):
        with pytest.raises(UserError, match=words):
            PackMono3DInputs()(Compose(steps)(make_sample()))
    # Also where the boxes come after, or never.
    with pytest.raises(UserError, match=words):
        PackMono3DInputs()(transform(make_sample(load=False)))


@pytest.mark.parametrize('transform', [
    Expand(ratio_range=(2, 2), prob=1.), RandomAffine(max_rotate_degree=0),
    RandomShift(prob=1., max_shift_px=8)],
    ids=['expand', 'affine', 'shift'])
def test_images_moved_unnoticed_are_noticed(transform):
    """MMDetection's transforms that note no homography."""
    random.seed(1)
    np.random.seed(1)
    for steps in ([transform], [CenterResize(SIZE), transform],
                  [transform, CenterPad()]):
        sample = put_boxes(make_sample(), (40, 10, 70, 20))
        with pytest.raises(UserError, match='moved a.png and its boxes but did not note it'):
            PackMono3DInputs()(Compose(steps)(sample))


def test_3d_boxes_without_their_boxes_are_noticed():
    sample = make_sample()
    for key in ('gt_bboxes', 'gt_ignore_flags', 'gt_bboxes_labels'):
        sample[key] = sample[key][:2]
    with pytest.raises(UserError, match='left 4 3D boxes for 2 boxes in a.png'):
        PackMono3DInputs()(sample)


def test_packing():
    sample = make_sample()
    sample['gt_ignore_flags'][1] = True
    sample['gt_bboxes_labels'][1] = -1
    given = {key: sample[key].copy() for key in ('gt_bboxes_3d', 'gt_alpha')}
    packed = PackMono3DInputs(meta_keys=('img_id', ))(sample)
    assert packed['inputs'].shape == (3, 37, 124)
    found = packed['data_samples']
    assert found.metainfo.keys() == {'img_id', 'homography_matrix', 'cam2img', 'augmented'}
    assert found.augmented is False
    np.testing.assert_array_equal(found.homography_matrix, np.eye(3))
    np.testing.assert_array_equal(found.cam2img, camera())
    for instances, rows in ((found.gt_instances, [0, 2, 3]), (found.ignored_instances, [1])):
        np.testing.assert_array_equal(instances.bboxes_3d, given['gt_bboxes_3d'][rows])
        np.testing.assert_array_equal(instances.alpha, given['gt_alpha'][rows])
        assert instances.bboxes_3d.dtype == instances.alpha.dtype == torch.float32
        assert len(instances.bboxes) == len(instances.labels) == len(rows)
    assert found.ignored_instances.labels.tolist() == [-1]


def test_loading_keeps_the_values_of_the_data_set():
    sample = make_sample()
    for row, instance in enumerate(sample['instances']):
        np.testing.assert_allclose(sample['gt_bboxes_3d'][row], instance['bbox_3d'], rtol=1e-6)
        np.testing.assert_allclose(sample['gt_alpha'][row], instance['alpha'], rtol=1e-6)
    assert sample['gt_bboxes_3d'].dtype == sample['gt_alpha'].dtype == np.float32
    del sample['instances'][2]['bbox_3d']
    with pytest.raises(UserError, match='a.png comes from a data set without 3D boxes'):
        LoadBoxes3D()(sample)


def test_pictures_without_annotations_pass():
    """As an inferencer's, which has a camera and nothing else."""
    sample = make_sample(load=False)
    del sample['instances']
    pipeline = Compose([CenterResize(SIZE, fit='width'), LoadBoxes3D(), PackMono3DInputs()])
    sample['cam2img'] = sample['cam2img'].tolist()
    found = pipeline(sample)['data_samples']
    assert not found.gt_instances.keys()
    np.testing.assert_allclose(found.cam2img[0, 0], 72.15 * 128 / 124)
    sample = make_sample(load=False)
    del sample['instances']
    assert CenterAffine3D(SIZE, 1, flip_prob=1)(sample)['cam2img'].shape == (3, 4)


@pytest.mark.parametrize('transform', [
    CenterAffine3D(SIZE, 1, flip_prob=1), CenterPad(), CenterResize(SIZE, fit='width')], ids=repr)
def test_transforms_without_objects(transform):
    found = PackMono3DInputs()(transform(make_sample(count=0)))['data_samples'].gt_instances
    assert found.bboxes_3d.shape == (0, 7) and found.alpha.shape == (0, )


@pytest.mark.parametrize('transform', [CenterAffine3D(SIZE), PackMono3DInputs()])
def test_bad_cameras_are_named(transform):
    for cam2img, words in [
        (None, 'a.png has no camera: 3D boxes need cam2img'),
        (np.eye(3), r'cam2img of a.png must be 3 x 4 finite numbers.*shape \(3, 3\)'),
        (np.full((3, 4), np.nan), 'cam2img of a.png must be 3 x 4 finite numbers'),
    ]:
        with case(words):
            with pytest.raises(UserError, match=words):
                transform(dict(make_sample(), cam2img=cam2img))
            sample = make_sample()
            del sample['cam2img']
            with pytest.raises(UserError, match='a.png has no camera'):
                transform(sample)


def test_boxes_without_3d_boxes_are_not_augmented():
    sample = make_sample()
    del sample['gt_bboxes_3d']
    with pytest.raises(UserError, match='has boxes but no 3D boxes: put .*LoadBoxes3D before'):
        CenterAffine3D(SIZE)(sample)


def test_crops_for_2d_do_not_know_3d_boxes():
    with pytest.raises(UserError, match='CenterAffine does not support 3D boxes, which a.png has'):
        CenterAffine(SIZE)(make_sample())


@pytest.mark.parametrize('options, words', [
    (dict(size=(0, 4)), 'size'), (dict(aug_prob=1.1), '0 <= aug_prob <= 1'),
    (dict(flip_prob=-.1), '0 <= flip_prob <= 1'), (dict(scale_jitter=1), 'scale_jitter < 1'),
    (dict(shift_jitter=-1), 'shift_jitter >= 0'), (dict(fit='height'), "fit='height' must be")])
def test_bad_options_are_refused(options, words):
    with pytest.raises(UserError, match=words):
        CenterAffine3D(**options)
    if 'fit' in options:
        with pytest.raises(UserError, match=words):
            CenterResize(**options)


def sample_at(*depths):
    """A sample with an object at each depth, and a DontCare region."""
    sample = make_sample(count=len(depths) + 1, load=False)
    for instance, depth in zip(sample['instances'], (*depths, -1000)):
        instance['bbox_3d'][2] = depth
    sample['instances'][-1].update(ignore_flag=1, bbox_label=-1)
    return Compose([LoadAnnotations(with_bbox=True), LoadBoxes3D()])(sample)


@pytest.mark.parametrize('near, far, learned, ignored', [
    ('drop', 'drop', [5, 30, 65], []), ('ignore', 'drop', [5, 30, 65], [4.9]),
    ('drop', 'ignore', [5, 30, 65], [65.1, 80]), ('ignore', 'ignore', [5, 30, 65],
                                                  [4.9, 65.1, 80])])
def test_filter_leaves_depths_out(near, far, learned, ignored):
    """Both limits belong to what is learned; what is ignored anyway stays."""
    out = FilterBoxes3D(5, 65, near, far)(sample_at(4.9, 5, 30, 65, 65.1, 80))
    flags, depth = out['gt_ignore_flags'], out['gt_bboxes_3d'][:, 2]
    assert depth[~flags].tolist() == pytest.approx(learned)
    assert depth[flags].tolist() == pytest.approx([*ignored, -1000])
    packed = PackMono3DInputs()(out)['data_samples']
    assert len(packed.gt_instances) == len(learned)
    assert packed.gt_instances.alpha.shape == (len(learned), )
    assert len(packed.ignored_instances) == len(ignored) + 1
    assert packed.ignored_instances.labels[-1] == -1


def test_filter_with_one_limit_and_without_objects():
    for options, count in ((dict(min_depth=10), 2), (dict(max_depth=10), 1)):
        assert len(FilterBoxes3D(**options)(sample_at(5, 20, 40))['gt_bboxes']) == count + 1
    assert len(FilterBoxes3D(max_depth=9)(sample_at())['gt_bboxes']) == 1
    assert FilterBoxes3D(max_depth=9)(dict(img=1)) == dict(img=1)
    assert repr(FilterBoxes3D(max_depth=9, far='ignore')) == (
        "FilterBoxes3D(min_depth=-inf, max_depth=9, near='drop', far='ignore')")


@pytest.mark.parametrize('options, words', [
    ({}, 'needs a limit'), (dict(min_depth=9, max_depth=3), 'min_depth below max_depth'),
    (dict(max_depth=9, far='hide'), "far='hide' of FilterBoxes3D must be one of")], ids=str)
def test_filter_refuses(options, words):
    with pytest.raises(UserError, match=words):
        FilterBoxes3D(**options)


def test_filter_needs_3d_boxes():
    sample = make_sample()
    del sample['gt_bboxes_3d']
    with pytest.raises(UserError, match='a.png has boxes but no 3D boxes: put .*LoadBoxes3D'):
        FilterBoxes3D(max_depth=9)(sample)


@pytest.mark.parametrize('flip_prob', [0, 1])
def test_images_as_one_camera_sees_them(flip_prob):
    """Whatever the size and camera: 3D boxes project to where the camera of the option sees them,
    flipped ones to its flipped world."""
    view = (60.0, 50.0, 22.0)
    wanted = np.array([[60, 0, 50, 0], [0, 60, 22, 0], [0, 0, 1, 0]])
    for height, width, focal in ((37, 124, 72.15), (60, 200, 150), (40, 90, 50)):
        sample = make_sample(height, width, seed=height)
        sample['cam2img'] = camera(width, height, focal)
        sample['cam2img'][:, 3] = 0
        for transform in (
                CenterAffine3D(SIZE, aug_prob=0, flip_prob=flip_prob, camera=view),
                *([] if flip_prob else [CenterResize(SIZE, camera=view)])):
            out = transform(keep(sample))
            np.testing.assert_allclose(out['cam2img'], wanted, atol=1e-6)
            assert out['img'].shape == (SIZE[1], SIZE[0], 3)
            check_projections(keep(sample), out)
            assert not out.get('augmented')
    np.random.seed(0)
    moved = CenterAffine3D(SIZE, aug_prob=1, camera=view)(keep(sample))
    assert moved['augmented'] and abs(moved['cam2img'][1, 1] - 60) > 0.1


def keep(sample):
    """A copy of a sample, whose boxes fill the image so that none is dropped."""
    height, width = sample['img'].shape[:2]
    return put_boxes(copy.deepcopy(sample), (0, 0, width, height))


def test_views_refuse():
    for options, words in [(dict(camera=(0, 5, 5)), 'must be .focal length'),
                           (dict(camera=(5, 5)), 'must be .focal length')]:
        for kind in (CenterResize, CenterAffine3D):
            with pytest.raises(UserError, match=words):
                kind(SIZE, **options)
    with pytest.raises(UserError, match='a camera and the test scale 2'):
        CenterResize(SIZE, scale=2, camera=(60, 50, 22))
    with pytest.raises(UserError, match='a.png has no camera'):
        CenterResize(SIZE, camera=(60, 50, 22))(dict(make_sample(), cam2img=None))
