"""Boxes in space in the image: what is cut off, and what is painted where."""
import cv2
import numpy as np
import pytest
from helpers.cases import case
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmdet_centernet.visualization.boxes_3d import (
    EDGES,
    FACES,
    View,
    camera_center,
    corners_of,
    draw_boxes_3d,
    texts_of,
    visible_faces,
)

WIDTH, HEIGHT = 414, 125
CAMERA = np.array([[240.5, 0, 203.2, 14.95], [0, 240.5, 57.6, 0.07], [0, 0, 1, 0.0027]])
MARGIN = 0.05 * WIDTH
NEAR = 0.1
RED, GREEN, BLUE = '#ff0000', '#00ff00', '#0000ff'
GRAY = 100
CAR = [0., 1.65, 8., 1.5, 1.6, 3.9, 0.]

# Also around and behind the camera.
box = st.tuples(
    st.floats(-8, 8), st.floats(0.5, 2.5), st.floats(-6, 30), st.floats(0.5, 3),
    st.floats(0.5, 3), st.floats(0.5, 6), st.floats(-3.2, 3.2)).map(np.array)


def corners_with_loops(values):
    """KITTI's corners of one box, in the order of ``box_corners``."""
    x, y, z, h, w, length, turn = values
    rotation = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0],
                         [-np.sin(turn), 0, np.cos(turn)]])
    corners = []
    for up in (0, 1):
        for front, side in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
            corners.append(rotation @ (front * length / 2, -up * h, side * w / 2) + (x, y, z))
    return np.array(corners)


def seen(point, slack=0.):
    """Where a point is in the image, None if it is too near or too far outside of it."""
    x, y, w = CAMERA[:, :3] @ point + CAMERA[:, 3]
    if w < NEAR + slack:
        return None
    place = np.array([x / w, y / w])
    low, high = -MARGIN + slack, np.array([WIDTH, HEIGHT]) + MARGIN - slack
    return place if (place >= low).all() and (place <= high).all() else None


def distance_to_segment(point, start, end):
    along = end - start
    share = np.clip((point - start) @ along / max(along @ along, 1e-12), 0, 1)
    return np.linalg.norm(point - start - share * along)


@given(st.lists(box, min_size=1, max_size=3))
def test_edges_are_cut_at_the_near_plane_and_the_border(boxes):
    corners = np.array([corners_with_loops(values) for values in boxes])
    np.testing.assert_allclose(corners_of(np.array(boxes)), corners, atol=1e-12)
    ends = corners[:, EDGES].reshape(-1, 2, 3)
    lines, which = View(CAMERA, (WIDTH, HEIGHT)).segments(ends)
    assert np.isfinite(lines).all() and (np.diff(which) > 0).all()
    for place in lines.reshape(-1, 2):
        assert (place >= -MARGIN - 1e-6).all()
        assert (place <= np.array([WIDTH, HEIGHT]) + MARGIN + 1e-6).all()
    lines = dict(zip(which.tolist(), lines))
    for index, (start, end) in enumerate(ends):
        points = [start + share * (end - start) for share in np.linspace(0, 1, 25)]
        places = [place for place in map(seen, points) if place is not None]
        if index not in lines:
            assert not [point for point in points if seen(point, 1e-6) is not None]
            continue
        for place in places:
            assert distance_to_segment(place, *lines[index]) < 1e-6
        # It ends where the edge does, where it comes too near, or at the border.
        depths = [CAMERA[2, :3] @ point + CAMERA[2, 3] for point in (start, end)]
        whole = [point for point, depth in zip((start, end), depths) if depth >= NEAR]
        if (depths[0] < NEAR) != (depths[1] < NEAR):
            share = (NEAR - depths[0]) / (depths[1] - depths[0])
            whole.append(start + share * (end - start))
        for place in lines[index]:
            border = min(*(place + MARGIN), *(np.array([WIDTH, HEIGHT]) + MARGIN - place))
            assert border < 1e-6 or min(
                np.linalg.norm(place - project(point)) for point in whole) < 1e-5


def project(point):
    x, y, w = CAMERA[:, :3] @ point + CAMERA[:, 3]
    return np.array([x, y]) / w


def test_parts_before_the_near_plane_are_cut_off():
    """Also where a projection would still be in the image."""
    eye = camera_center(CAMERA)
    start, end = eye + [0.004, 0.002, 0], eye + [0, 0, 5]
    (line, ), _ = View(CAMERA, (WIDTH, HEIGHT)).segments(np.array([[start, end]]))
    share = NEAR / 5
    assert line[0] == pytest.approx(project(start + share * (end - start)), abs=1e-6)
    assert np.linalg.norm(line[0] - project(start + 0.9 * share * (end - start))) > 1


def is_inside(place, polygon, slack):
    """Whether a convex polygon, of either sense, has a point inside."""
    after = np.roll(polygon, -1, axis=0)
    along, beside = after - polygon, place - polygon
    turns = along[:, 0] * beside[:, 1] - along[:, 1] * beside[:, 0]
    turns /= np.maximum(np.linalg.norm(along, axis=1), 1e-9)
    return (turns >= -slack).all() or (turns <= slack).all()


@given(box, st.integers(0, 5))
def test_faces_are_cut_at_the_near_plane_and_the_border(values, face):
    corners = corners_with_loops(values)[FACES[face]]
    polygon = View(CAMERA, (WIDTH, HEIGHT)).polygon(corners)
    assert polygon.shape[1:] == (2, ) and np.isfinite(polygon).all()
    assert (polygon >= -MARGIN - 1e-6).all()
    assert (polygon <= np.array([WIDTH, HEIGHT]) + MARGIN + 1e-6).all()
    shares = np.linspace(0, 1, 9)
    for a in shares:
        for b in shares:
            point = ((1 - a) * ((1 - b) * corners[0] + b * corners[1])
                     + a * ((1 - b) * corners[3] + b * corners[2]))
            place = seen(point, 1e-6)
            assert place is None or is_inside(place, polygon, 1e-5)
    # Each corner is seen on the face: the ray through it meets the face's plane in the face.
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    eye = camera_center(CAMERA)
    if abs(normal @ (corners[0] - eye)) / np.linalg.norm(normal) < 0.05:
        return  # from the edge on
    for u, v in polygon:
        ray = np.linalg.solve(CAMERA[:, :3], (u, v, 1))
        point = eye + normal @ (corners[0] - eye) / (normal @ ray) * ray
        for side in (1, 3):
            along = corners[side] - corners[0]
            share = (point - corners[0]) @ along / (along @ along)
            assert -1e-5 < share < 1 + 1e-5


@given(box)
def test_faces_that_are_seen(values):
    corners, eye = corners_with_loops(values), camera_center(CAMERA)
    np.testing.assert_allclose(CAMERA @ (*eye, 1), 0, atol=1e-9)
    middle = corners.mean(axis=0)
    expected = []
    for face in FACES:
        normal = np.cross(corners[face[1]] - corners[face[0]], corners[face[3]] - corners[face[0]])
        if normal @ (corners[face[0]] - middle) < 0:
            normal = -normal
        expected.append(normal @ (eye - corners[face[0]]) / np.linalg.norm(normal))
    clear = np.abs(expected) > 1e-6
    found, = visible_faces(corners[None], eye)
    assert (found == (np.array(expected) > 0))[clear].all()


def test_from_within_a_box_no_face_is_seen():
    around = corners_with_loops([0.1, 1, 0.2, 2, 2, 4, 0.3])
    assert not visible_faces(around[None], camera_center(CAMERA)).any()
    assert visible_faces(corners_with_loops(CAR)[None], camera_center(CAMERA)).sum() == 2


def test_label_texts():
    classes = ('Pedestrian', 'Car')
    assert texts_of(classes, np.array([1, 0, 2]), [14.23, 7., 60], [0.874, 1, 0.3]) == [
        'Car 0.87 14.2 m', 'Pedestrian 1.00 7.0 m', 'class 2 0.30 60.0 m']
    assert texts_of(classes, [0], [3.96]) == ['Pedestrian 4.0 m']
    assert texts_of(classes, [], [], []) == []


# Pictures.

def painted(boxes, colors, texts=None, zoom=1, camera=CAMERA):
    """The picture, and the axes that it was drawn in."""
    size = WIDTH * zoom, HEIGHT * zoom
    figure = Figure(figsize=((size[0] + 0.01) / 100, (size[1] + 0.01) / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(np.full((HEIGHT, WIDTH, 3), GRAY, np.uint8), extent=(0, WIDTH, HEIGHT, 0))
    axes.set_axis_off()
    draw_boxes_3d(axes, np.array(boxes).reshape(-1, 7), colors, camera, zoom * 0.72, texts)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    assert picture.shape[:2] == size[::-1]
    return picture, axes


def at(picture, point):
    u, v = (int(round(value)) for value in seen(np.array(point)))
    return picture[v - 1:v + 2, u - 1:u + 2]


def is_red(color):
    return color[0] > color[1] + 40 and color[0] > color[2] + 40


def test_nothing_is_painted_without_boxes_behind_the_camera_and_beside_the_image():
    away = [[0, 1.65, -10, 1.5, 1.6, 3.9, 0], [60, 1.65, 10, 1.5, 1.6, 3.9, 0],
            [np.nan, 1.65, 10, 1.5, 1.6, 3.9, 0], [0, 1.65, np.inf, 1.5, 1.6, 3.9, 0]]
    for boxes in ([], away):
        picture, axes = painted(boxes, [RED] * len(boxes), ['text'] * len(boxes))
        assert (picture == GRAY).all() and not axes.texts


def test_edges_are_painted_where_they_are_and_the_front_is_shaded():
    # Seen from the right and behind: it heads away, to the left.
    turn = -2.2
    corners = corners_with_loops([*CAR[:6], turn])
    front = corners[FACES[0]].mean(axis=0)
    back = corners[FACES[2]].mean(axis=0)
    for heading, front_is_seen in ((turn, False), (turn + np.pi, True)):
        picture, _ = painted([[*CAR[:6], heading]], [RED])
        shown = back if front_is_seen else front  # where the front is now
        other = front if front_is_seen else back
        assert is_red(at(picture, shown).mean((0, 1)))
        near, far = at(picture, shown).mean((0, 1)), at(picture, other).mean((0, 1))
        assert near[0] - near[1] > far[0] - far[1] + 20
    for start, end in EDGES:
        for share in (0.2, 0.5, 0.8):
            around = at(picture, corners[start] + share * (corners[end] - corners[start]))
            assert max(color[0] - color[1] for color in around.reshape(-1, 3)) > 40
    assert (picture[:5] == GRAY).all() and (picture[:, :20] == GRAY).all()


def test_the_seen_front_is_stronger():
    strengths = []
    for turn in (np.pi / 2, -np.pi / 2):  # towards the camera, away from it
        picture, _ = painted([[*CAR[:6], turn]], [RED])
        x, y, z = corners_with_loops([*CAR[:6], turn])[FACES[0]].mean(axis=0)
        color = at(picture, (x + 0.2, y - 0.2, z))[1, 1]
        strengths.append(color[0] - color[1])
    assert strengths[0] > strengths[1] + 20 > 40


def check_lines_are_near(values):
    """Check that the paint of a box at the camera is near its visible lines and front."""
    picture, _ = painted([values], [RED])
    corners = corners_with_loops(values)
    points = [start + share * (end - start) for start, end in corners[EDGES]
              for share in np.linspace(0, 1, 2000)]
    bottom, front = corners[FACES[4]], corners[FACES[0]]
    a, b = np.meshgrid(*[np.linspace(0, 1, 400)] * 2)
    a, b = a.reshape(-1, 1), b.reshape(-1, 1)
    for first, second, third, fourth in (front, bottom):  # the arrow lies on the bottom
        points.extend((1 - a) * ((1 - b) * first + b * second)
                      + a * ((1 - b) * fourth + b * third))
    points = np.array(points)
    places = points @ CAMERA[:, :3].T + CAMERA[:, 3]
    places = places[places[:, 2] > NEAR]
    places = places[:, :2] / places[:, 2:]
    places = places[(np.abs(places) < 2000).all(axis=1)].round().astype(int)
    near = np.zeros((HEIGHT + 20, WIDTH + 20), np.uint8)
    x, y = places.T + 10
    kept = (x >= 0) & (x < WIDTH + 20) & (y >= 0) & (y < HEIGHT + 20)
    near[y[kept], x[kept]] = 1
    near = cv2.dilate(near, np.ones((7, 7)))[10:-10, 10:-10] > 0
    changed = np.abs(picture - GRAY).max(axis=2) > 4
    assert changed.any() and not (changed & ~near).any()


def test_no_line_runs_across_the_picture():
    for values in [
        [0.1, 1.65, 0.3, 1.6, 1.8, 4, 0.2], [0.1, 1.65, 0.3, 1.6, 1.8, 4, -1.5],
        [-2.5, 1.65, 1.5, 1.5, 1.7, 4, -1.57], [3., 1.65, 1.0, 1.5, 1.7, 4, 1.2],
        [-6, 1.65, 6, 1.5, 1.7, 4, 0.7], [1, 1.65, 2.2, 3, 1.7, 4.5, 3.0],
    ]:
        with case(values):
            check_lines_are_near(values)


def test_the_nearest_lies_on_top():
    near, far = [0, 1.65, 8, 1.5, 1.6, 3.9, np.pi / 2], [0, 1.65, 12, 3, 3.2, 3.9, np.pi / 2]
    for order in (1, -1):
        picture, _ = painted([near, far][::order], [RED, GREEN][::order])
        x, y, z = corners_with_loops(near)[[4, 5]].mean(axis=0)  # the near one's upper edge
        color = at(picture, (x + 0.5, y, z)).reshape(-1, 3)
        assert (color[:, 0] - color[:, 1]).max() > 100


def test_dark_colors_have_a_light_outline():
    for color, is_dark in ((RED, False), ('#00008e', True)):
        picture, _ = painted([CAR], [color])
        assert (picture[..., 1].max() > GRAY + 20) == is_dark


def boxes_of(axes):
    """Text, and left, top, right, bottom of each label, px."""
    canvas = axes.figure.canvas
    canvas.draw()
    found = []
    for text in axes.texts:
        extent = text.get_window_extent(canvas.get_renderer())
        height = axes.figure.bbox.height
        found.append((text.get_text(), np.array([
            extent.x0, height - extent.y1, extent.x1, height - extent.y0])))
    return found


def test_labels_stand_above_their_boxes():
    (text, place), = boxes_of(painted([CAR], [RED], ['Car 0.87 8.0 m'], zoom=3)[1])
    corners = np.array([seen(corner) for corner in corners_with_loops(CAR)]) * 3
    assert text == 'Car 0.87 8.0 m'
    assert place[3] <= corners[:, 1].min() + 1 and place[3] > corners[:, 1].min() - 12
    assert abs(place[0] - corners[:, 0].min()) < 8


def test_labels_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    boxes = np.tile(CAR, (60, 1))
    boxes[:, 2] = rng.uniform(5, 40, 60)
    boxes[:, 0] = rng.uniform(-0.7, 0.7, 60) * boxes[:, 2]
    texts = [f'Car {index / 100:.2f} {box[2]:.1f} m' for index, box in enumerate(boxes)]
    found = boxes_of(painted(boxes, [RED] * 60, texts, zoom=3)[1])
    assert 15 < len(found) <= 60 and len({text for text, _ in found}) == len(found)
    for index, (_, one) in enumerate(found):
        assert (one >= -1).all() and (one[2:] <= (3 * WIDTH + 1, 3 * HEIGHT + 1)).all()
        for _, other in found[:index]:
            assert (one[:2] >= other[2:]).any() or (one[2:] <= other[:2]).any()
    nearest = texts[int(boxes[:, 2].argmin())]
    assert nearest in {text for text, _ in found}


def test_labels_of_cut_off_and_high_boxes_stay_inside():
    left = [-6.2, 1.65, 8, 1.5, 1.6, 3.9, 0]
    high = [0.1, 1.65, 0.3, 1.6, 1.8, 4, 0.2]  # around the camera
    right = [6.2, 1.65, 8, 1.5, 1.6, 3.9, 0]
    for values in (left, high, right):
        (_, place), = boxes_of(painted([values], [RED], ['Pedestrian 0.87 14.2 m'], zoom=3)[1])
        assert place[0] >= -1 and place[1] >= -1
        assert place[2] <= 3 * WIDTH + 1 and place[3] <= 3 * HEIGHT + 1


def test_lines_and_letters_grow_with_the_image():
    widths, letters = [], []
    for zoom in (2, 4):
        picture, axes = painted([CAR], [RED], ['Car'], zoom)
        letters.append(boxes_of(axes)[0][1] @ (0, -1, 0, 1))
        u, v = (seen(corners_with_loops(CAR)[[4, 7]].mean(axis=0)) * zoom).astype(int)
        column = picture[v - 20:v + 20, u]
        widths.append((column[:, 0] > column[:, 1] + 80).sum())
    assert widths[1] > widths[0] >= 1
    assert letters[1] == pytest.approx(2 * letters[0], rel=0.15)
    small, _ = painted([[*CAR[:2], 40., *CAR[3:]]], [RED], zoom=4)
    large, _ = painted([CAR], [RED], zoom=4)
    rows = [np.flatnonzero((p[:, :, 0] > p[:, :, 1] + 80).any(axis=1)) for p in (small, large)]
    first = [(p[r[0]:r[0] + 12, :, 0] > p[r[0]:r[0] + 12, :, 1] + 80).any(axis=1).sum()
             for p, r in zip((small, large), rows)]
    assert first[0] <= first[1]
