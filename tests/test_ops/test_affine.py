"""Center and scale warps against slow references, and the way back."""
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_centernet.ops.affine import (
    center_warp,
    fit_warp,
    fit_zoom,
    flip_warp,
    invert_warp,
    pad_warp,
    warp_boxes,
    warp_points,
)

sides = st.integers(1, 4000)
zooms = st.floats(0.1, 8)
coordinates = st.floats(-100, 4100)
# A busy machine is no failure.
unhurried = settings(deadline=None)


def reference_points(points, center, zoom, out_size, flip_width=None):
    """One number at a time."""
    moved = []
    for x, y in points:
        if flip_width is not None:
            x = flip_width - x - 1
        moved.append([(x - center[0]) * zoom + out_size[0] / 2,
                      (y - center[1]) * zoom + out_size[1] / 2])
    return np.array(moved).reshape(-1, 2)


@unhurried
@given(width=sides, height=sides, out_width=sides, out_height=sides, zoom=zooms,
       points=st.lists(st.tuples(coordinates, coordinates), max_size=4), flip=st.booleans())
def test_warp_matches_reference_and_inverse(
        width, height, out_width, out_height, zoom, points, flip):
    center, out_size = (width / 3, height / 2), (out_width, out_height)
    matrix = center_warp(center, zoom, out_size)
    if flip:
        matrix = matrix @ flip_warp(width)
    points = np.array(points).reshape(-1, 2)
    moved = warp_points(points, matrix)
    expected = reference_points(points, center, zoom, out_size, width if flip else None)
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    np.testing.assert_allclose(warp_points(moved, invert_warp(matrix)), points, atol=1e-6)


@unhurried
@given(width=sides, height=sides, zoom=zooms, x=st.floats(0, 1), y=st.floats(0, 1))
def test_round_trip_through_float32(width, height, zoom, x, y):
    """The matrix that a sample keeps is float32; that costs no thousandth of a pixel."""
    matrix = (center_warp((width / 2, height / 2), zoom, (512, 384)) @ flip_warp(width)
              ).astype(np.float32)
    points = np.array([[x * width, y * height]])
    back = warp_points(warp_points(points, matrix), invert_warp(matrix))
    np.testing.assert_allclose(back, points, atol=1e-3)


@unhurried
@given(side=st.integers(8, 2048), other=st.integers(8, 2048), out=st.integers(32, 1024),
       scale=st.floats(0.6, 1.4), x=st.floats(0, 1), y=st.floats(0, 1))
def test_square_outputs_match_three_point_construction(side, other, out, scale, x, y):
    """The original gives three corresponding points to OpenCV."""
    center = np.array([x * side, y * other])
    span = max(side, other) * scale
    source = np.float32([center, center - [0, span / 2], center - [span / 2, span / 2]])
    target = np.float32([[out / 2, out / 2], [out / 2, 0], [0, 0]])
    expected = cv2.getAffineTransform(source, target)
    matrix = center_warp(center, fit_zoom((side, other), (out, out)) / scale, (out, out))
    corners = np.array([[0, 0], [side, 0], [side, other]])
    np.testing.assert_allclose(
        warp_points(corners, matrix), corners @ expected[:, :2].T + expected[:, 2], atol=0.02)


def test_fit_zoom_keeps_the_whole_image():
    assert fit_zoom((640, 480), (512, 512)) == 512 / 640
    assert fit_zoom((480, 640), (512, 512)) == 512 / 640
    assert fit_zoom((480, 640), (640, 320)) == 0.5
    assert fit_zoom((4000, 60), (512, 512)) == 512 / 4000


def test_fit_zoom_may_look_at_the_width_alone():
    assert fit_zoom((480, 640), (640, 320), 'width') == 640 / 480
    with pytest.raises(ValueError, match="fit='height' must be one of"):
        fit_zoom((480, 640), (640, 320), 'height')


@unhurried
@given(width=sides, height=sides, mask=st.sampled_from([31, 127]), scale=st.floats(0.3, 2))
def test_padding_shifts_the_middle_pixel_to_the_middle(width, height, mask, scale):
    if min(width, height) * scale < 1:
        with pytest.raises(ValueError, match='no pixels left at the scale'):
            pad_warp((width, height), mask, scale)
        return
    scaled, matrix, out_size = pad_warp((width, height), mask, scale)
    assert scaled == (int(width * scale), int(height * scale))
    for side, out, shift in zip(scaled, out_size, matrix[:2, 2], strict=True):
        assert out % (mask + 1) == 0 and side < out <= side + mask + 1
        assert shift == out // 2 - side // 2 >= 0 and shift + side <= out
    np.testing.assert_array_equal(matrix[:2, :2], np.eye(2))


def test_fitting_brings_the_middle_to_the_middle():
    scaled, matrix, out_size = fit_warp((640, 480), (512, 384))
    assert (scaled, out_size) == ((640, 480), (512, 384))
    np.testing.assert_allclose(matrix, np.diag((.8, .8, 1)))
    scaled, matrix, _ = fit_warp((640, 480), (512, 512), scale=.5)
    assert scaled == (320, 240)
    np.testing.assert_allclose(matrix, [[.8, 0, 128], [0, .8, 160], [0, 0, 1]])
    # As wide as the output; as much sticks out above as below.
    _, matrix, _ = fit_warp((100, 80), (50, 20), 'width')
    np.testing.assert_allclose(matrix, [[.5, 0, 0], [0, .5, -10], [0, 0, 1]])
    with pytest.raises(ValueError, match='3 x 400 px has no pixels left at the scale 0.25'):
        fit_warp((3, 400), (64, 64), scale=.25)


def test_flip_warp_flips_pixel_centers():
    np.testing.assert_array_equal(
        warp_points([[0, 5], [9, 5], [4.5, 0]], flip_warp(10)), [[9, 5], [0, 5], [4.5, 0]])


def test_flipped_pixels_follow_the_matrix():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    flipped = cv2.warpAffine(image, flip_warp(4)[:2], (4, 3))
    np.testing.assert_array_equal(flipped, image[:, ::-1])


@unhurried
@given(st.lists(st.tuples(coordinates, coordinates, coordinates, coordinates), max_size=3),
       st.floats(-3.2, 3.2))
def test_boxes_are_the_hull_of_their_corners(boxes, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle), 3], [np.sin(angle), np.cos(angle), -7],
                     [0, 0, 1]])
    expected = []
    for x1, y1, x2, y2 in boxes:
        xs, ys = zip(*[(turn[0] @ [x, y, 1], turn[1] @ [x, y, 1])
                       for x in (x1, x2) for y in (y1, y2)], strict=True)
        expected.append([min(xs), min(ys), max(xs), max(ys)])
    np.testing.assert_allclose(
        warp_boxes(np.array(boxes), turn), np.array(expected).reshape(-1, 4), atol=1e-6)


@pytest.mark.parametrize('empty', [np.zeros((0, 4)), np.zeros((0, 4), np.float32)])
def test_warps_without_boxes(empty):
    assert warp_boxes(empty, np.eye(3)).shape == (0, 4)
    assert warp_points(np.zeros((0, 2)), np.eye(3)).shape == (0, 2)
