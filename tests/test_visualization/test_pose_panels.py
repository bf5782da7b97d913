"""Panels of poses: who counts as found, and what is painted where."""
import numpy as np
import pytest
from matplotlib.colors import to_hex

from mmdet_centernet.visualization import (
    PoseStyle,
    heatmap_to_image,
    joint_heat,
    joints_overlay,
    pose_panel,
)
from mmdet_centernet.visualization.panels import FOUND, MISSED, TRUTH, WRONG
from mmdet_centernet.visualization.pose_panel import keypoint_similarities

RED, GREEN, BLUE, PINK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)
META = dict(
    classes=('figure', ), num_keypoints=3, keypoint_colors=[RED, GREEN, BLUE],
    keypoint_id2name={0: 'left_foot', 1: 'head', 2: 'right_foot'},
    skeleton_links=[(0, 1), (1, 2)], skeleton_link_colors=[PINK, PINK], sigmas=[0.05, 0.1, 0.05])
JOINTS = np.array([[10., 40.], [25., 10.], [40., 40.]])
IMAGE = np.full((60, 120, 3), 100, np.uint8)


def truth(*places, visible=2):
    keypoints = np.array([JOINTS + place for place in places]).reshape(-1, 3, 2)
    return dict(bboxes=boxes_of(keypoints), labels=np.zeros(len(places), np.int64),
                keypoints=keypoints, keypoints_visible=np.full((len(places), 3), visible))


def boxes_of(keypoints):
    return np.hstack((keypoints.min(1) - 2, keypoints.max(1) + 2))


def predictions(*keypoints, scores=(0.9, 0.8, 0.7), joint_score=0.9):
    keypoints = np.array(keypoints).reshape(-1, 3, 2)
    count = len(keypoints)
    return dict(bboxes=boxes_of(keypoints), labels=np.zeros(count, np.int64),
                scores=np.array(scores[:count]), keypoints=keypoints,
                keypoint_scores=np.full((count, 3), joint_score))


def similarity_with_loops(pred, truth, sigmas):
    """COCO's formula, with MMPose's area of a box."""
    result = np.zeros((len(pred), len(truth['keypoints'])))
    for i, person in enumerate(pred):
        for j, (x1, y1, x2, y2) in enumerate(truth['bboxes']):
            values = []
            for k, sigma in enumerate(sigmas):
                if truth['keypoints_visible'][j, k] > 0:
                    dx, dy = person[k] - truth['keypoints'][j, k]
                    area = (x2 - x1) * (y2 - y1) * 0.53
                    values.append(np.exp(-(dx ** 2 + dy ** 2) / (2 * area * (2 * sigma) ** 2)))
            result[i, j] = np.mean(values) if values else 0
    return result


def test_similarities():
    rng = np.random.default_rng(0)
    people = truth(*rng.uniform(0, 60, (5, 2)))
    people['keypoints_visible'] = rng.integers(0, 3, (5, 3))
    people['keypoints_visible'][2] = 0
    pred = people['keypoints'][[4, 1, 1]] + rng.normal(0, 2, (3, 3, 2))
    expected = similarity_with_loops(pred, people, META['sigmas'])
    assert expected.max() > 0.3
    np.testing.assert_allclose(
        keypoint_similarities(pred, people, META['sigmas']), expected, rtol=1e-12)


def captions_and_box_colors(figure):
    captions = [axes.get_title(loc='left') for axes in figure.axes]
    colors = [[to_hex(patch.get_edgecolor()) for patch in axes.patches][::-1]
              for axes in figure.axes[:2]]
    return captions, *colors


def panel(people, pred, meta=META, heat=None, **options):
    heat = np.zeros((60, 120)) if heat is None else heat
    return pose_panel(IMAGE, people, pred, heat, dataset_meta=meta, **options)


def test_people_are_found_by_their_joints():
    people = truth((0, 0), (60, 0))
    folded = JOINTS[[2, 1, 0]] + (60, 0)  # the second's box, but left is right
    figure = panel(people, predictions(JOINTS + 0.5, folded))
    captions, first, second = captions_and_box_colors(figure)
    assert captions[:2] == ['Ground truth: 2 poses', 'Predictions: 2 poses, 1 right, 1 missed']
    assert first == [TRUTH, MISSED] and second == [FOUND, WRONG]
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ['right (OKS ≥ 0.5)', 'wrong']
    # Without labelled joints, or without sigmas, by their boxes.
    people['keypoints_visible'][1] = 0
    assert captions_and_box_colors(panel(people, predictions(JOINTS + 0.5, folded)))[1:] == (
        [TRUTH, TRUTH], [FOUND, FOUND])
    people['keypoints_visible'][1] = 2
    figure = panel(people, predictions(JOINTS + 0.5, folded), dict(META, sigmas=[]))
    assert captions_and_box_colors(figure)[2] == [FOUND, FOUND]
    assert 'IoU' in figure.axes[1].get_legend().get_texts()[0].get_text()


def test_classes_do_not_mix():
    pred = predictions(JOINTS)
    pred['labels'] += 1
    meta = dict(META, classes=('child', 'adult'))
    figure = panel(truth((0, 0)), pred, meta)
    assert captions_and_box_colors(figure)[1:] == ([MISSED], [WRONG])
    assert [text.get_text() for text in figure.axes[1].texts] == ['adult .90']


def rendered(figure):
    """The picture, and where pixels of the photo of a column are in it."""
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)

    def color_at(column, place):
        x, y = figure.axes[column].transData.transform(place)
        return picture[int(len(picture) - y), int(x)]

    return color_at


def near(color, other):
    return np.abs(color - np.array(other)).max() < 12


def test_skeletons_are_painted_in_their_panels():
    people = truth((0, 0))
    people['keypoints_visible'] = np.array([[0, 2, 1]])
    pred = predictions(JOINTS + (60, 0))
    pred['keypoint_scores'] = np.array([[0.9, 0.8, 0.4]])
    at = rendered(panel(people, pred, kpt_thr=0.5))
    assert near(at(0, JOINTS[0]), [100] * 3) and near(at(0, JOINTS[1]), GREEN)
    assert not near(at(0, JOINTS[2]), BLUE) and not near(at(0, JOINTS[2]), [100] * 3)
    assert near(at(0, (17.5, 25)), [100] * 3) and near(at(0, (32.5, 25)), PINK)
    moved = JOINTS + (60, 0)
    assert near(at(1, moved[0]), RED) and near(at(1, moved[1]), GREEN)
    assert near(at(1, moved[2]), [100] * 3)
    assert near(at(1, (77.5, 25)), PINK) and near(at(1, (92.5, 25)), [100] * 3)
    assert near(at(0, moved[1]), [100] * 3) and near(at(1, JOINTS[1]), [100] * 3)


def test_joint_heat_maps_have_their_joints_colors():
    style = PoseStyle.of(META, 3)
    heatmaps = np.zeros((3, 15, 30))
    heatmaps[0, 4, 6], heatmaps[2, 9, 20] = 0.8, 0.6
    heatmaps[:2, 12, 12] = 0.5
    heat = joint_heat(heatmaps, style)
    np.testing.assert_allclose(heat[4, 6], [0.8, 1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(heat[9, 20], [0.6, 0, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(heat[12, 12], [0.5, 0.5, 0.5, 0], rtol=1e-6)
    assert np.isfinite(heat).all() and heat[0, 0, 0] == 0
    photo = heatmap_to_image(heat, (60, 120), np.eye(3), 4)
    shown = joints_overlay(IMAGE, photo).astype(int)
    assert near(shown[2, 2], [60] * 3)
    assert shown[18, 26] @ [1, -0.5, -0.5] > 150 and shown[38, 82] @ [-0.5, -0.5, 1] > 100
    figure = panel(truth((0, 0)), predictions(JOINTS), heat=photo)
    at = rendered(figure)
    assert near(at(2, (2.5, 2.5)), [60] * 3) and at(2, (26, 18)) @ [1, -0.5, -0.5] > 150
    assert figure.axes[2].get_title(loc='left') == (
        'Keypoint heatmaps (full color: probability 0.7)')  # between cells it is less
    names = figure.axes[2].get_legend().get_texts()
    assert [text.get_text() for text in names] == ['left foot', 'head', 'right foot']


@pytest.mark.parametrize('meta', [META, None], ids=['skeleton', 'no metainfo'])
def test_nobody(meta):
    figure = panel(truth(), predictions(), meta)
    captions, first, second = captions_and_box_colors(figure)
    assert captions[:3] == ['Ground truth: 0 poses',
                            'Predictions: 0 poses, 0 right, 0 missed', 'Center heatmap']
    assert not first and not second
    figure.canvas.draw()
    assert captions_and_box_colors(panel(truth((0, 0)), predictions(), meta))[1] == [MISSED]
    assert captions_and_box_colors(panel(truth(), predictions(JOINTS), meta))[2] == [WRONG]


MIXED_META = dict(
    classes=('disc', 'figure', 'bar'), num_keypoints=3, skeletons=dict(
        figure=META,
        bar=dict(num_keypoints=2, keypoint_colors=[BLUE, RED], skeleton_links=[(0, 1)],
                 skeleton_link_colors=[PINK], sigmas=[0.02, 0.02])))


def test_each_class_is_compared_and_drawn_by_its_own_skeleton():
    keypoints = np.array([[[0., 0.]] * 3, JOINTS, [[70., 50.], [110., 20.], [0., 0.]]])
    boxes = np.array([[55., 5., 65., 15.], [8., 8., 42., 42.], [68., 18., 112., 52.]])
    people = dict(bboxes=boxes, labels=np.arange(3), keypoints=keypoints,
                  keypoints_visible=np.array([[0, 0, 0], [2, 2, 2], [2, 2, 0]]))
    pred = dict(people, scores=np.array([0.9, 0.8, 0.7]), keypoints=keypoints.copy(),
                keypoint_scores=(people['keypoints_visible'] > 0) * 0.9)
    # Near enough by the figure's sigmas, not by the bar's.
    shift = np.array([3., 0.])
    pred['keypoints'][1:] += shift
    figure = panel(people, pred, MIXED_META, kpt_thr=0.)
    captions, first, second = captions_and_box_colors(figure)
    assert captions[:2] == ['Ground truth: 3 objects', 'Predictions: 3 objects, 2 right, 1 missed']
    legend = figure.axes[1].get_legend().get_texts()
    assert legend[0].get_text() == 'right (OKS or IoU ≥ 0.5)'
    assert first == [TRUTH, TRUTH, MISSED] and second == [FOUND, FOUND, WRONG]
    at = rendered(figure)
    for column, move in ((0, 0 * shift), (1, shift)):
        for joint, color in zip(JOINTS, (RED, GREEN, BLUE)):
            assert near(at(column, joint + move), color)
        for joint, color in zip(keypoints[2], (BLUE, RED)):
            assert near(at(column, joint + move), color)
        assert near(at(column, np.array([90., 35.]) + move), PINK)
        assert near(at(column, (1, 1)), [100] * 3)
