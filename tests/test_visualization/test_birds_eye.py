"""The view from above: what is in it, and where."""
import numpy as np
import pytest
from helpers.cases import case
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmdet_centernet.visualization.birds_eye import (
    TRUTH_OUTLINE,
    draw_birds_eye,
    field_of_view,
    view_range,
)

CAMERA = np.array([[721.5, 0, 609.6, 44.86], [0, 721.5, 172.9, 0.22], [0, 0, 1, 0.0027]])
WIDTH = 1242
RED, GREEN, BLUE = '#ff0000', '#00ff00', '#0000ff'
SHOWN = (-10, 10, -1, 24)

box = st.tuples(
    st.floats(-60, 60), st.floats(0, 3), st.floats(-5, 110), st.floats(0.5, 3),
    st.floats(0.5, 3), st.floats(0.5, 12), st.floats(-3.2, 3.2))


def ground(values):
    """x and z of the corners of a box: front left, front right, back right, back left."""
    x, _, z, _, w, length, turn = values
    corners = []
    for front, side in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
        along, across = front * length / 2, side * w / 2
        corners.append((x + np.cos(turn) * along + np.sin(turn) * across,
                        z - np.sin(turn) * along + np.cos(turn) * across))
    return np.array(corners)


@given(st.lists(box, max_size=5), st.floats(0.3, 3))
def test_the_range_shows_all_boxes_and_the_camera(boxes, aspect):
    left, right, near, far = view_range(np.array(boxes).reshape(-1, 7), aspect)
    assert left == -right and near <= -1 and far >= 20 and right >= 8
    assert (right - left) / (far - near) == pytest.approx(aspect)
    corners = np.array([ground(values) for values in boxes]).reshape(-1, 2)
    corners = corners[(np.abs(corners) < 118).all(axis=1)]
    assert (np.abs(corners[:, 0]) < right).all()
    assert ((corners[:, 1] > near) & (corners[:, 1] < far)).all()
    # And no more than it has to: it is full in one direction.
    reach = max([*np.abs(corners[:, 0]), 6.5]), max([*corners[:, 1], 18.5])
    assert right - reach[0] < 2 or far - reach[1] < 2


def test_range_of_boxes_that_cannot_be_shown():
    nothing = view_range(np.empty((0, 7)))
    far = [0, 1.65, 500, 1.5, 1.6, 4, 0]
    assert view_range(np.array([far, [np.nan] * 7])) == nothing
    assert nothing[3] == 20


@pytest.mark.parametrize('camera', [
    CAMERA, np.array([[500., 0, 320, -120], [0, 480, 200, 20], [0, 0, 1, 0.5]])])
def test_the_field_of_view_ends_at_the_images_borders(camera):
    eye, *ends = field_of_view(camera, WIDTH, 30.)
    for share in (0.2, 1):
        for (x, z), u in zip(ends, (0, WIDTH)):
            # y does not matter to x in the image, if the camera is not skewed.
            place = camera @ (eye[0] + share * (x - eye[0]), 1., eye[1] + share * (z - eye[1]), 1)
            assert place[0] / place[2] == pytest.approx(u, abs=1e-6)
    assert ends[0][1] == ends[1][1] == 30 and ends[0][0] < eye[0] < ends[1][0]
    assert (camera @ (eye[0], 0, eye[1], 1))[[0, 2]] == pytest.approx(0, abs=1e-9)


def painted(*groups, shown=SHOWN, size=(500, 625)):
    """Axes, and the color at x and z in meters."""
    figure = Figure(figsize=(size[0] / 100, size[1] / 100), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    draw_birds_eye(axes, list(groups), CAMERA, WIDTH, shown)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)

    def color_at(x, z):
        column, row = axes.transData.transform((x, z))
        return picture[int(len(picture) - row), int(column)]

    return axes, color_at


def group(boxes, color, **options):
    return dict(bboxes_3d=np.array(boxes, dtype=float).reshape(-1, 7),
                colors=[color] * len(np.array(boxes).reshape(-1, 7)), **options)


CAR = (2, 1.65, 12, 1.5, 2, 4, 0.6)


def between(first, second, share=0.5):
    return first + share * (second - first)


def test_predictions_are_filled_rectangles_where_they_are():
    _, at = painted(group([CAR], RED, filled=True))
    corners = ground(CAR)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        assert at(*between(corners[a], corners[b], 0.3)) @ [1, -0.5, -0.5] > 100
    inside = at(*between(between(corners[2], corners[0], 0.3), corners[3], 0.2))
    assert 40 < inside @ [1, -0.5, -0.5] < 150
    outside = corners.mean(0) + 1.25 * (corners - corners.mean(0))
    for place in outside:
        assert np.ptp(at(*place)) < 12


def check_heading(turn):
    values = (*CAR[:6], turn)
    _, at = painted(group([values], RED, filled=True))
    corners = ground(values)
    middle, front = corners.mean(0), corners[:2].mean(0)
    # A positive turn is to the left of x, seen from above: towards the camera.
    assert front - middle == pytest.approx([2 * np.cos(turn), -2 * np.sin(turn)])
    assert at(*between(middle, front)) @ [1, -0.5, -0.5] > 60
    strengths = [max(at(*(middle + sign * 1.25 * (front - middle) + step)) @ [1, -0.5, -0.5]
                     for step in np.array([[0, 0], [.04, 0], [-.04, 0], [0, .04], [0, -.04]]))
                 for sign in (1, -1)]
    assert strengths[0] > 60 and abs(strengths[1]) < 12


def test_the_heading_stands_out_in_front():
    for turn in [0, 0.6, np.pi / 2, -2.5]:
        with case(turn):
            check_heading(turn)


def test_the_truth_has_dark_outlines_and_predictions_lie_on_them():
    axes, at = painted(group([CAR], TRUTH_OUTLINE, names=[(TRUTH_OUTLINE, 'ground truth')]),
                       group([CAR], GREEN, filled=True, names=[(GREEN, 'Car'), (RED, 'Van')]))
    corners = ground(CAR)
    edge = between(corners[1], corners[2], 0.3)
    assert at(*edge) @ [-0.5, 1, -0.5] > 100
    out = (edge - corners.mean(0)) / np.linalg.norm(edge - corners.mean(0))
    assert min(at(*(edge + step * out)).max() for step in (0.03, 0.05, 0.07)) < 130
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ['ground truth', 'Car', 'Van']
    _, at = painted(group([CAR], TRUTH_OUTLINE))
    assert at(*edge).max() < 80 and at(*(corners.mean(0) + [0, 0.6])).min() > 200


def test_ground_outside_the_image_is_gray():
    _, at = painted()
    assert at(1, 15.2).min() > 245 and at(-9, 1).max() < 235 and at(9, 1).max() < 235
    assert at(0.7, -0.7).max() < 235
    assert at(0, 0).max() < 100  # the camera
    left = field_of_view(CAMERA, WIDTH, 9.)[1]
    assert at(*(left + [0.4, 0])).min() > 245 and at(*(left - [0.4, 0])).max() < 235


def test_distances_are_written():
    axes, _ = painted()
    axes.figure.canvas.draw()
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert {'0 m', '5 m', '20 m'} <= set(shown)
    assert {'-5', '0', '5'} <= {label.get_text() for label in axes.get_xticklabels()}
    assert axes.get_legend() is None and axes.get_aspect() == 1


def test_a_grid_of_few_lines():
    for span, step in [(8, 1), (60, 10), (100, 20), (900, 100), (4000, 500)]:
        with case(span, step):
            axes, _ = painted(shown=(-span / 2, span / 2, 0, span))
            steps = np.diff([place for place in axes.get_yticks()])
            assert steps == pytest.approx(step)


def test_boxes_that_cannot_be_seen():
    far, beside = (0, 1.65, 70, 1.5, 2, 4, 0), (-30, 1.65, 10, 1.5, 2, 4, 0)
    nan = (np.nan, *CAR[1:])
    mixed = group([nan, far, CAR, beside], RED, filled=True)
    mixed['colors'] = [BLUE, BLUE, RED, BLUE]
    axes, at = painted(mixed)
    assert [text.get_text() for text in axes.texts] == ['2 outside']
    assert at(*between(*ground(CAR)[:2], 0.3)) @ [1, -0.5, -0.5] > 100  # its own color
    axes, at = painted(group([CAR], RED), group([], RED))
    assert not axes.texts
    # The range fits to the boxes if none is given.
    axes, _ = painted(group([far], RED), shown=None)
    assert not axes.texts and axes.get_ylim()[1] > 72


def test_the_first_of_a_group_lies_on_top():
    mixed = group([CAR, CAR], RED)
    mixed['colors'] = [RED, BLUE]
    _, at = painted(mixed)
    assert at(*between(*ground(CAR)[1:3], 0.3)) @ [1, -0.5, -0.5] > 150
