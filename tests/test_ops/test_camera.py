"""Cameras, 3D boxes, their angles and depths against loops, and by what holds for all."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.camera import angle_between, corners_slowly, project_slowly, unproject_slowly

from mmdet_centernet.ops.camera import (
    alpha_to_rotation_y,
    box_centers,
    box_corners,
    depth_of,
    project,
    rotation_y_to_alpha,
    unproject,
    viewing_angle,
    wrap_angle,
)

# A busy machine is not a failure.
unhurried = settings(deadline=None)
angles = st.floats(-30, 30)


@st.composite
def cameras(draw):
    """Draw a camera [3, 4] like KITTI's, next to the origin, whose image is scaled and shifted."""
    focal = draw(st.floats(300, 2500))
    camera = torch.tensor([
        [focal, 0, draw(st.floats(100, 1500)), draw(st.floats(-400, 400))],
        [0, focal * draw(st.floats(0.9, 1.1)), draw(st.floats(50, 800)), draw(st.floats(-5, 5))],
        [0, 0, 1, draw(st.floats(-0.01, 0.01))]], dtype=torch.float64)
    homography = torch.tensor([
        [draw(st.floats(0.3, 3)), 0, draw(st.floats(-500, 500))],
        [0, draw(st.floats(0.3, 3)), draw(st.floats(-500, 500))], [0, 0, 1]], dtype=torch.float64)
    return homography @ camera


points_in_front = st.lists(
    st.tuples(st.floats(-60, 60), st.floats(-5, 5), st.floats(0.5, 120)), max_size=5)
boxes_3d = st.lists(st.tuples(
    st.floats(-60, 60), st.floats(-5, 5), st.floats(1, 100), st.floats(0.3, 5),
    st.floats(0.3, 5), st.floats(0.3, 20), angles), max_size=4)


def table(rows, columns):
    return torch.tensor(rows, dtype=torch.float64).view(-1, columns)


@unhurried
@given(camera=cameras(), points=points_in_front, pixels=st.lists(
    st.tuples(st.floats(-500, 3000), st.floats(-500, 2000), st.floats(0.5, 120)), max_size=5))
def test_projection_equals_loop(camera, points, pixels):
    found = project(table(points, 3), camera)
    expected = table([project_slowly(point, camera.tolist()) for point in points], 2)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-7)
    pixels = table(pixels, 3)
    found = unproject(pixels[:, :2], pixels[:, 2], camera)
    expected = table([unproject_slowly((u, v), depth, camera.tolist())
                      for u, v, depth in pixels.tolist()], 3)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-7)


@unhurried
@given(camera=cameras(), points=points_in_front)
def test_unproject_inverts_project(camera, points):
    points = table(points, 3)
    torch.testing.assert_close(
        unproject(project(points, camera), points[:, 2], camera), points, rtol=0, atol=1e-8)


@unhurried
@given(camera=cameras(), points=points_in_front, skew=st.floats(-50, 50))
def test_unproject_inverts_a_skew_camera(camera, points, skew):
    camera[0, 1] = skew
    points = table(points, 3)
    pixels = project(points, camera)
    torch.testing.assert_close(
        unproject(pixels, points[:, 2], camera), points, rtol=0, atol=1e-8)
    for pixel, point in zip(pixels.tolist(), points.tolist()):
        assert pixel == pytest.approx(project_slowly(point, camera.tolist()), rel=1e-9, abs=1e-7)


def test_unproject_inverts_kittis_camera_in_float32():
    """A millimeter at 80 m does not need float64."""
    camera = torch.tensor([[721.5377, 0, 609.5593, 44.85728], [0, 721.5377, 172.854, 0.2163791],
                           [0, 0, 1, 0.002745884]])
    points = torch.tensor([[-30.0, 1.6, 80], [0.5, 0.9, 4], [25, -1, 50]])
    back = unproject(project(points, camera), points[:, 2], camera)
    torch.testing.assert_close(back, points, rtol=0, atol=1e-4)


@unhurried
@given(angle=st.floats(-1e3, 1e3), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_wrap_angle_equals_loop(angle, dtype):
    angle = torch.tensor([angle], dtype=dtype)
    wrapped = wrap_angle(angle)
    assert wrapped.dtype == dtype
    assert -math.pi <= wrapped.item() < math.pi
    tolerance = 1e-12 if dtype == torch.float64 else 1e-3 if angle.abs() > 10 else 2e-6
    assert angle_between(wrapped.item(), angle.item()) <= tolerance


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('turns', range(-5, 6, 2))
def test_wrap_angle_at_the_borders(turns, dtype):
    """pi is not a float32: the nearest is larger than pi, and not an angle here."""
    at = torch.tensor(turns * math.pi, dtype=dtype)
    angles = [at]
    for direction in (-math.inf, math.inf):
        near = at
        for _ in range(8):
            near = torch.nextafter(near, torch.tensor(direction, dtype=dtype))
            angles.append(near)
    angles += [at + step for step in (-1e-3, -1e-6, -1e-9, 1e-9, 1e-6, 1e-3)]
    for angle in angles:
        wrapped = wrap_angle(angle)
        assert -math.pi <= wrapped.item() < math.pi
        assert angle_between(wrapped.item(), angle.item()) < (
            1e-6 * abs(turns) if dtype == torch.float32 else 1e-14 * abs(turns))


def test_wrap_angle_keeps_angles_inside():
    inside = torch.linspace(-3.1415, 3.1415, 1001, dtype=torch.float64)
    torch.testing.assert_close(wrap_angle(inside), inside, rtol=0, atol=1e-15)
    assert wrap_angle(torch.tensor(float('nan'))).isnan()


@unhurried
@given(camera=cameras(), alpha=st.floats(-math.pi, math.pi), u=st.floats(-500, 3000),
       dtype=st.sampled_from([torch.float32, torch.float64]))
def test_alpha_to_rotation_y_and_back(camera, alpha, u, dtype):
    cam2img, us = camera.to(dtype), torch.tensor([u], dtype=dtype)
    ray = math.atan2(u - camera[0, 2], camera[0, 0])
    exactly = 1e-12 if dtype == torch.float64 else 1e-5
    assert viewing_angle(us, cam2img).item() == pytest.approx(ray, abs=exactly)
    rotation_y = alpha_to_rotation_y(torch.tensor([alpha], dtype=dtype), us, cam2img)
    assert -math.pi <= rotation_y.item() < math.pi
    assert angle_between(rotation_y.item(), alpha + ray) < exactly
    back = rotation_y_to_alpha(rotation_y, us, cam2img)
    assert -math.pi <= back.item() < math.pi
    assert angle_between(back.item(), alpha) < exactly


def test_alpha_of_an_object_seen_from_behind_does_not_depend_on_its_position():
    """An object that faces along the ray to it has alpha = -pi / 2, also at the image's border."""
    camera = torch.tensor([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]])
    for x, z in ((0.0, 10.0), (8.0, 10.0), (-8.0, 10.0)):
        away = -math.atan2(z, x)  # rotated by it, the length points away from the camera
        u = project(torch.tensor([[x, 0, z]]), camera)[:, 0]
        corners = box_corners(torch.tensor([x, 1, z, 1.5, 1.5, 4, away]))
        front, back = corners[[0, 1, 4, 5]].norm(dim=1), corners[[2, 3, 6, 7]].norm(dim=1)
        assert front.min() > back.max()
        assert rotation_y_to_alpha(
            torch.tensor([away]), u, camera).item() == pytest.approx(-math.pi / 2, abs=1e-6)


@unhurried
@given(boxes=boxes_3d)
def test_corners_and_centers_equal_loop(boxes):
    tensor = table(boxes, 7)
    expected = table([corners_slowly(box) for box in boxes], 24).view(-1, 8, 3)
    torch.testing.assert_close(box_corners(tensor), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(box_centers(tensor), table(
        [(x, y - h / 2, z) for x, y, z, h, *_ in boxes], 3), rtol=0, atol=1e-12)


@unhurried
@given(boxes=boxes_3d)
def test_corners_are_those_of_a_rigid_box(boxes):
    """Edges are as long as the dimensions, however the box is rotated; its bottom is at y and its
    middle is the center."""
    tensor = table(boxes, 7)
    corners = box_corners(tensor)
    for box, points in zip(boxes, corners):
        _, y, _, height, width, length, _ = box
        bottom, top = points[:4], points[4:]
        for edges, wanted in (
            ((top - bottom), height),
            (torch.stack([points[1] - points[0], points[2] - points[3], points[5] - points[4],
                          points[6] - points[7]]), width),
            (torch.stack([points[0] - points[3], points[1] - points[2], points[4] - points[7],
                          points[5] - points[6]]), length)):
            np.testing.assert_allclose(edges.norm(dim=1), wanted, atol=1e-9)
        diagonal = math.sqrt(height**2 + width**2 + length**2)
        assert (points[0] - points[6]).norm().item() == pytest.approx(diagonal, abs=1e-9)
        np.testing.assert_allclose(bottom[:, 1], y, atol=1e-12)
        np.testing.assert_allclose(top[:, 1], y - height, atol=1e-12)
    torch.testing.assert_close(corners.mean(dim=-2), box_centers(tensor), rtol=0, atol=1e-9)


def test_corners_of_a_box_rotated_by_90_degrees():
    """As in KITTI: from x to the right by -pi / 2 to z ahead, by pi / 2 to the camera."""
    for angle, front in ((0.0, (7, 10)), (-math.pi / 2, (5, 12)), (math.pi / 2, (5, 8)),
                         (-math.pi, (3, 10))):
        corners = box_corners(torch.tensor([5, 1, 10, 1.5, 1.6, 4, angle]))
        middle = corners[[0, 1, 4, 5]].mean(dim=0)
        np.testing.assert_allclose(middle[[0, 2]], front, atol=1e-5)


@pytest.mark.parametrize('batch', [(), (3, ), (2, 3)], ids=str)
def test_batches_equal_one_by_one(batch):
    """A camera for each leading dimension's points; one camera serves all."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    count = 5
    cameras = torch.zeros(*batch, 3, 4, dtype=torch.float64)
    cameras[..., 0, 0] = cameras[..., 1, 1] = 500 + 300 * rand(*batch)
    cameras[..., :2, 2] = 100 + 500 * rand(*batch, 2)
    cameras[..., :, 3] = rand(*batch, 3)
    cameras[..., 2, 2] = 1
    points = rand(*batch, count, 3) * 10 + torch.tensor([-5, -1, 5.0])
    boxes = rand(*batch, count, 7) * 4
    pixels = project(points, cameras)
    back = unproject(pixels, points[..., 2], cameras)
    turns = alpha_to_rotation_y(boxes[..., 6], pixels[..., 0], cameras)
    corners, centers = box_corners(boxes), box_centers(boxes)
    assert pixels.shape == (*batch, count, 2) and corners.shape == (*batch, count, 8, 3)
    torch.testing.assert_close(back, points)
    for index in np.ndindex(*batch):
        camera = cameras[index]
        torch.testing.assert_close(pixels[index], project(points[index], camera))
        torch.testing.assert_close(
            turns[index], alpha_to_rotation_y(boxes[index][:, 6], pixels[index][:, 0], camera))
        torch.testing.assert_close(corners[index], box_corners(boxes[index]))
        torch.testing.assert_close(centers[index], box_centers(boxes[index]))
    one = cameras[(0, ) * len(batch)]
    for index in np.ndindex(*batch):
        torch.testing.assert_close(project(points, one)[index], project(points[index], one))
        torch.testing.assert_close(
            unproject(pixels, points[..., 2], one)[index],
            unproject(pixels[index], points[index][:, 2], one))
    # The corners of each box of a batch are points of its image's camera.
    assert project(corners, cameras[..., None, :, :]).shape == (*batch, count, 8, 2)


@pytest.mark.parametrize('batch', [(), (2, )], ids=str)
def test_no_points_and_no_boxes(batch):
    camera = torch.eye(3, 4).expand(*batch, 3, 4)
    empty = torch.zeros(*batch, 0, 3)
    assert project(empty, camera).shape == (*batch, 0, 2)
    assert unproject(empty[..., :2], empty[..., 0], camera).shape == (*batch, 0, 3)
    assert alpha_to_rotation_y(empty[..., 0], empty[..., 1], camera).shape == (*batch, 0)
    boxes = torch.zeros(*batch, 0, 7)
    assert box_corners(boxes).shape == (*batch, 0, 8, 3)
    assert box_centers(boxes).shape == (*batch, 0, 3)
    assert wrap_angle(torch.zeros(0)).shape == (0, )


def test_depth_is_the_papers():
    output = torch.linspace(-4.5, 4, 50, dtype=torch.float64)
    expected = 1 / torch.sigmoid(output) - 1
    torch.testing.assert_close(depth_of(output).double(), expected, rtol=1e-6, atol=1e-6)


def test_depth_of_any_output_is_finite():
    """Also in half precision, and with a finite gradient."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for value in (-1e4, -100.0, 100.0, 1e4):
            output = torch.tensor([value], dtype=dtype, requires_grad=True)
            depth = depth_of(output)
            depth.sum().backward()
            assert depth.dtype == torch.float32, (dtype, value)
            assert 0 <= depth.item() <= 1e6 * (1 + 1e-6), (dtype, value)
            assert torch.isfinite(output.grad).all(), (dtype, value)
