"""The image and its boxes move together, and one matrix says how."""
import itertools

import cv2
import numpy as np
import pytest
import torch
from helpers.cases import case
from mmdet.datasets.transforms import PackDetInputs, RandomFlip, Resize
from mmdet.structures.bbox import HorizontalBoxes

from mmdet_centernet.datasets.transforms import CenterAffine, CenterPad, CenterResize
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.affine import invert_warp, warp_boxes, warp_points


def make_sample(height=48, width=70, boxes=(), labels=None, seed=0):
    """A smooth random image, and boxes as mmdet's LoadAnnotations leaves them."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    count = len(boxes)
    return dict(
        img=cv2.GaussianBlur(noise, (0, 0), 3), img_path='a.png', img_shape=(height, width),
        ori_shape=(height, width),
        gt_bboxes=HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.arange(count) if labels is None else np.array(labels),
        gt_ignore_flags=np.zeros(count, dtype=bool))


def fix_draw(transform, center, scale, flip):
    transform._draw = lambda width, height: (center, scale, flip)
    return transform


def reference_crop(image, center, scale, flip, size):
    """Flip, then interpolate every output pixel bilinearly, in float64."""
    image = image.astype(np.float64)
    height, width = image.shape[:2]
    x0, y0 = center
    if flip:
        image, x0 = image[:, ::-1], width - x0 - 1
    zoom = size / (max(height, width) * scale)
    padded = np.zeros((height + 2, width + 2, 3))
    padded[1:-1, 1:-1] = image
    out = np.zeros((size, size, 3))
    for row in range(size):
        for column in range(size):
            x, y = (column - size / 2) / zoom + x0, (row - size / 2) / zoom + y0
            left, top = int(np.floor(x)), int(np.floor(y))
            if not (-1 <= left < width and -1 <= top < height):
                continue
            a, b = x - left, y - top
            four = padded[top + 1:top + 3, left + 1:left + 3]
            out[row, column] = ((1 - b) * ((1 - a) * four[0, 0] + a * four[0, 1])
                                + b * ((1 - a) * four[1, 0] + a * four[1, 1]))
    return out


def check_crop(height, width, scale, flip):
    sample = make_sample(height, width, boxes=[[10, 8, 30, 26]])
    image = sample['img'].copy()
    transform = fix_draw(CenterAffine((64, 64)), (31, 22), scale, flip)
    out = transform(sample)
    # OpenCV places samples to 1/32 px.
    difference = np.abs(out['img'] - reference_crop(image, (31, 22), scale, flip, 64))
    assert difference.max() <= 4
    assert difference.mean() < 0.6
    zoom = 64 / (max(height, width) * scale)
    x1, x2 = (width - 30 - 1, width - 10 - 1) if flip else (10, 30)
    x0 = width - 31 - 1 if flip else 31
    expected = [(x1 - x0) * zoom + 32, (8 - 22) * zoom + 32,
                (x2 - x0) * zoom + 32, (26 - 22) * zoom + 32]
    np.testing.assert_allclose(
        out['gt_bboxes'].tensor[0], np.clip(expected, 0, 64), atol=1e-4)


def test_crop_matches_slow_reference():
    for (height, width, scale), flip in itertools.product(
        [(48, 70, 0.6), (70, 48, 1.3)], [False, True],
    ):
        with case(height, width, scale, flip):
            check_crop(height, width, scale, flip)


@pytest.mark.parametrize('transform', [
    CenterAffine((192, 128), flip_prob=0), CenterAffine((192, 128), flip_prob=1),
    CenterAffine((160, 160), random_crop=False), CenterPad(), CenterResize((192, 96)),
    CenterResize((64, 256))], ids=repr)
def test_boxes_stay_on_their_objects(transform):
    """A white block in a black image is found where its box went."""
    for seed in range(20):
        np.random.seed(seed)
        sample = make_sample(120, 200, boxes=[[90, 50, 130, 80]])
        sample['img'][:] = 0
        # From the pixel center 90 to the pixel center 130.
        sample['img'][50:81, 90:131] = 255
        out = transform(sample)
        if not len(out['gt_bboxes']):
            continue
        ys, xs = np.nonzero(out['img'][..., 0] > 127)
        height, width = out['img_shape']
        seen = np.array([xs.min(), ys.min(), xs.max(), ys.max()])
        np.testing.assert_allclose(
            seen, out['gt_bboxes'].tensor[0].numpy().clip(0, [width, height] * 2), atol=2.6)


def test_three_and_four_channels_are_warped_alike():
    """Whether the image is small beside the output or much larger than it."""
    for side, dtype in itertools.product([32, 63, 64, 200], [np.uint8, np.float32]):
        with case(side, dtype):
            image = make_sample(96, 160)['img'].astype(dtype)
            matrix = np.array([[-side / 111, .02, .9 * side], [.03, side / 111, 3.3], [0, 0, 1]])
            out = CenterAffine(pad_value=(9, 70, 130))._warp_image(image, matrix, (side, side))
            np.testing.assert_array_equal(out, cv2.warpAffine(
                image, matrix[:2], (side, side), borderMode=cv2.BORDER_CONSTANT,
                borderValue=(9, 70, 130)))
            assert out.dtype == dtype and out.shape == (side, side, 3)


def test_same_seed_same_crop():
    def run(seed):
        np.random.seed(seed)
        transform = CenterAffine((64, 64))
        return [transform(make_sample(300, 400, boxes=[[150, 100, 250, 200]]))
                for _ in range(3)]
    for first, second in zip(run(7), run(7)):
        np.testing.assert_array_equal(first['img'], second['img'])
        np.testing.assert_array_equal(first['gt_bboxes'].tensor, second['gt_bboxes'].tensor)
        np.testing.assert_array_equal(first['homography_matrix'], second['homography_matrix'])
    matrices = [out['homography_matrix'] for out in run(8)]
    assert not np.array_equal(matrices[0], matrices[1])


def test_draws_are_those_of_the_paper():
    transform = CenterAffine((512, 512))
    np.random.seed(0)
    draws = [transform._draw(640, 200) for _ in range(2000)]
    centers = np.array([center for center, _, _ in draws])
    assert centers[:, 0].min() == 128 and centers[:, 0].max() == 640 - 128 - 1
    # 200 - 128 <= 128, so the border is halved once.
    assert centers[:, 1].min() == 64 and centers[:, 1].max() == 200 - 64 - 1
    assert {round(scale, 6) for _, scale, _ in draws} == {.6, .7, .8, .9, 1., 1.1, 1.2, 1.3}
    assert 0.45 < np.mean([flip for _, _, flip in draws]) < 0.55


def test_draws_without_random_crop():
    transform = CenterAffine((512, 512), random_crop=False, flip_prob=1)
    np.random.seed(0)
    draws = [transform._draw(640, 200) for _ in range(2000)]
    shifts = np.array([center for center, _, _ in draws]) - [320, 100]
    scales = np.array([scale for _, scale, _ in draws])
    assert np.abs(shifts).max() == pytest.approx(0.2 * 640)
    assert shifts.std() == pytest.approx(64, rel=0.1)
    assert scales.min() == pytest.approx(0.6) and scales.max() == pytest.approx(1.4)
    assert scales.mean() == pytest.approx(1, abs=0.02)
    assert all(flip for _, _, flip in draws)


def test_objects_are_cut_kept_and_dropped():
    boxes = [[0, 0, 10, 10],     # outside
             [20, 20, 60, 60],   # its center is outside, its corner inside
             [45, 45, 55, 55],   # inside
             [10, 10, 90, 90],   # around everything
             [52, 60, 58, 60],   # no height
             [60, 52, 60, 58]]   # no width
    sample = make_sample(100, 100, boxes, labels=[5, 6, 7, 8, 9, 10])
    sample['gt_ignore_flags'][:] = [0, 1, 0, 0, 0, 0]
    # The crop is x and y from 50 to 70, at zoom 1.
    out = fix_draw(CenterAffine((20, 20)), (60, 60), 0.2, False)(sample)
    np.testing.assert_allclose(
        out['gt_bboxes'].tensor, [[0, 0, 10, 10], [0, 0, 5, 5], [0, 0, 20, 20]], atol=1e-4)
    np.testing.assert_array_equal(out['gt_bboxes_labels'], [6, 7, 8])
    np.testing.assert_array_equal(out['gt_ignore_flags'], [True, False, False])
    assert out['img'].shape == (20, 20, 3) and out['img_shape'] == (20, 20)


@pytest.mark.parametrize('transform', [
    CenterAffine((64, 32)), CenterPad(), CenterResize((32, 64)), CenterPad(scale=1.25),
    CenterResize((32, 64), scale=1.5)], ids=repr)
def test_odd_sizes_and_no_boxes(transform):
    for height, width in [(1, 1), (60, 4000), (4000, 60), (33, 32)]:
        with case(height, width):
            np.random.seed(1)
            img = make_sample(height, width)['img']
            out = transform(dict(make_sample(), img=img))
            assert out['img'].shape[:2] == out['img_shape']
            assert out['img'].dtype == np.uint8
            assert out['gt_bboxes'].tensor.shape == (0, 4)
            assert out['gt_bboxes_labels'].shape == (0, )
            assert np.isfinite(out['homography_matrix']).all()
            corners = np.array([[0, 0], [width, height]])
            moved = warp_points(corners, out['homography_matrix'])
            np.testing.assert_allclose(
                warp_points(moved, invert_warp(out['homography_matrix'])), corners, atol=1e-3)
            # An image without annotations, as in inference.
            assert transform(dict(img=img))['img_shape'] == out['img_shape']


@pytest.mark.parametrize('height, width, pad_mask, expected', [
    (333, 517, 31, (352, 544)), (32, 31, 31, (64, 32)), (1, 1, 31, (32, 32)),
    (333, 517, 127, (384, 640))])
def test_center_pad(height, width, pad_mask, expected):
    sample = make_sample(height, width, boxes=[[0, 0, width, height]])
    image = sample['img'].copy()
    out = CenterPad(pad_mask)(sample)
    top, left = expected[0] // 2 - height // 2, expected[1] // 2 - width // 2
    assert out['img_shape'] == out['img'].shape[:2] == expected
    np.testing.assert_array_equal(out['img'][top:top + height, left:left + width], image)
    out['img'][top:top + height, left:left + width] = 0
    assert not out['img'].any()
    np.testing.assert_array_equal(
        out['homography_matrix'], [[1, 0, left], [0, 1, top], [0, 0, 1]])
    np.testing.assert_array_equal(
        out['gt_bboxes'].tensor, [[left, top, left + width, top + height]])


def test_center_pad_equals_the_warp():
    """The shortcut gives what warpAffine with the same matrix gives."""
    sample = make_sample(37, 61)
    image = sample['img'].copy()
    out = CenterPad(pad_value=(1, 2, 3))(sample)
    np.testing.assert_array_equal(out['img'], cv2.warpAffine(
        image, out['homography_matrix'][:2], out['img_shape'][::-1], borderValue=(1, 2, 3)))


def test_center_resize_shows_the_whole_image():
    out = CenterResize((512, 512))(make_sample(480, 640, boxes=[[0, 0, 640, 480]]))
    np.testing.assert_allclose(out['gt_bboxes'].tensor, [[0, 64, 512, 448]], atol=1e-4)
    assert not out['img'][:63].any() and not out['img'][449:].any()
    out = CenterResize((128, 64))(make_sample(100, 50, boxes=[[0, 0, 50, 100]]))
    np.testing.assert_allclose(out['gt_bboxes'].tensor, [[48, 0, 80, 64]], atol=1e-4)


def original_warp(center, scale_width, out_size):
    """The original's warp through three points: the center, one above it, one beside that."""
    center, out_center = np.array(center), np.array(out_size) / 2
    above, out_above = np.array([0, -scale_width / 2]), np.array([0, -out_size[0] / 2])
    turned = np.array([above[1], 0])  # the vector above, turned by a right angle
    out_turned = np.array([out_above[1], 0])
    source = np.array([center, center + above, center + above + turned])
    target = np.array([out_center, out_center + out_above, out_center + out_above + out_turned])
    # Solve [x y 1] M^T = [x' y'].
    return np.linalg.solve(np.column_stack([source, np.ones(3)]), target).T


SIDES = [(333, 517), (517, 333), (37, 61), (2, 3), (64, 31), (400, 2)]


def check_test_scale(pad_mask, height, width, scale):
    """Pixels and boxes against the definition of its pre- and post-processing."""
    transform = CenterResize((96, 96), scale=scale) if pad_mask is None else CenterPad(
        pad_mask, scale=scale)
    sample = make_sample(height, width, boxes=[[0, 0, width, height]])
    image = sample['img'].copy()
    out = transform(sample)

    new_width, new_height = int(width * scale), int(height * scale)
    if pad_mask is None:
        in_size = 96, 96
        warp = original_warp((new_width / 2, new_height / 2), max(height, width), in_size)
    else:
        in_size = (new_width | pad_mask) + 1, (new_height | pad_mask) + 1
        warp = original_warp((new_width // 2, new_height // 2), in_size[0], in_size)
    expected = cv2.warpAffine(cv2.resize(image, (new_width, new_height)), warp, in_size)
    assert out['img_shape'] == out['img'].shape[:2] == in_size[::-1]
    # Warps that differ by rounding may place samples 1/32 px apart.
    difference = np.abs(out['img'].astype(int) - expected)
    assert difference.max() <= (4 if pad_mask is None else 0)
    # Detections: through the warp's inverse, then divided by the scale.
    points = np.array([[0., 0.], [in_size[0], in_size[1]], [17.25, 80.5]])
    back = np.linalg.solve(warp[:, :2], points.T - warp[:, 2:]).T / scale
    np.testing.assert_allclose(
        warp_points(points, invert_warp(out['homography_matrix'])), back, atol=1e-3, rtol=1e-5)
    np.testing.assert_allclose(
        out['gt_bboxes'].tensor[0].numpy().reshape(2, 2),
        np.array([[0, 0], [width, height]]) * scale @ warp[:, :2].T + warp[:, 2],
        atol=1e-3, rtol=1e-5)


def test_scales_equal_the_original():
    for pad_mask, (height, width), scale in itertools.product(
        [31, 127, None], SIDES, [0.5, 0.75, 1.0, 1.25, 1.5],
    ):
        with case(pad_mask, height, width, scale):
            check_test_scale(pad_mask, height, width, scale)


@pytest.mark.parametrize('kind', [CenterPad, CenterResize])
def test_scale_that_leaves_nothing_names_the_image(kind):
    for height, width in ((1, 50), (50, 1)):
        with pytest.raises(UserError) as caught:
            kind(scale=0.75)(make_sample(height, width))
        assert str(caught.value) == (
            f'a.png is {width} x {height} px, of which the test scale 0.75 leaves nothing: '
            'leave out this scale, or the image')
    assert kind(scale=1.5)(make_sample(1, 1))['img'].any()


def test_homographies_add_up_with_those_of_mmdet():
    """Original pixels to input pixels, over four transforms."""
    np.random.seed(3)
    boxes = [[20, 30, 60, 70], [70, 10, 110, 50]]
    sample = make_sample(100, 140, boxes)
    sample = Resize(scale=(280, 200), keep_ratio=True)(sample)
    sample = fix_draw(CenterAffine((160, 160)), (140, 100), 1.0, True)(sample)
    sample = RandomFlip(prob=1., direction='vertical')(sample)
    sample = CenterPad()(sample)
    matrix = sample['homography_matrix']
    assert matrix.dtype == np.float32 and matrix.shape == (3, 3)
    np.testing.assert_allclose(
        warp_boxes(np.array(boxes), matrix), sample['gt_bboxes'].tensor, atol=1e-3)
    np.testing.assert_allclose(
        warp_boxes(sample['gt_bboxes'].tensor.numpy(), invert_warp(matrix)), boxes, atol=1e-3)
    packed = PackDetInputs(meta_keys=('img_shape', 'homography_matrix'))(sample)
    assert packed['inputs'].shape[1:] == packed['data_samples'].img_shape
    np.testing.assert_array_equal(packed['data_samples'].homography_matrix, matrix)


def test_boxes_may_be_arrays():
    sample = make_sample(100, 140, [[20, 30, 60, 70], [0, 0, 5, 5]])
    twin = dict(sample, gt_bboxes=sample['gt_bboxes'].tensor.numpy())
    transform = fix_draw(CenterAffine((32, 32)), (40, 50), 0.5, False)
    out = transform(twin)
    assert isinstance(out['gt_bboxes'], np.ndarray)
    np.testing.assert_array_equal(out['gt_bboxes'], transform(sample)['gt_bboxes'].tensor)


def test_pad_value():
    sample = make_sample(50, 50)
    out = fix_draw(CenterAffine((64, 64), pad_value=(10, 20, 30)), (0, 0), 1, False)(sample)
    np.testing.assert_array_equal(out['img'][0, 0], [10, 20, 30])
    out = CenterResize((64, 32), pad_value=7)(make_sample(50, 50))
    np.testing.assert_array_equal(out['img'][0, 0], [7, 7, 7])


def test_image_may_be_float():
    sample = make_sample(50, 70)
    sample['img'] = sample['img'].astype(np.float32) + 0.25
    assert CenterPad()(sample)['img'].dtype == np.float32


@pytest.mark.parametrize('transform', [CenterAffine(), CenterPad(), CenterResize()], ids=repr)
def test_nan_box_is_named(transform):
    with pytest.raises(UserError, match=r'a\.png has a box that is not a number: \[1\.0, nan'):
        transform(make_sample(boxes=[[0, 0, 9, 9], [1, float('nan'), 8, 8]]))


def test_masks_are_refused_rather_than_left_behind():
    with pytest.raises(UserError, match=r'CenterAffine moves boxes but not gt_masks.*a\.png'):
        CenterAffine()(dict(make_sample(), gt_masks=object()))


def test_bad_options_are_refused():
    for build, words in [
        (lambda: CenterAffine((512, )), 'crop_size'),
        (lambda: CenterAffine((512, 0)), 'crop_size'),
        (lambda: CenterAffine((512, 0.5)), 'crop_size'),
        (lambda: CenterAffine(scales=()), 'scales'),
        (lambda: CenterAffine(scales=(0, 1)), 'scales'),
        (lambda: CenterAffine(border=-1), 'border'),
        (lambda: CenterAffine(flip_prob=1.5), 'flip_prob'),
        (lambda: CenterAffine(scale_jitter=1), 'scale_jitter'),
        (lambda: CenterAffine(shift_jitter=-1), 'shift_jitter'),
        (lambda: CenterAffine(pad_value=(1, 2)), 'pad_value'),
        (lambda: CenterPad(32), 'pad_mask'),
        (lambda: CenterPad(0), 'pad_mask'),
        (lambda: CenterResize((-1, 3)), 'size'),
        (lambda: CenterPad(scale=0), 'scale=0 must be'),
        (lambda: CenterPad(scale=float('nan')), 'scale=nan'),
        (lambda: CenterResize(scale=-0.5), 'scale=-0.5'),
        (lambda: CenterResize(scale=float('inf')), 'scale=inf'),
        (lambda: CenterResize(scale='2'), "scale='2'"),
    ]:
        with case(words), pytest.raises(UserError, match=words):
            build()
