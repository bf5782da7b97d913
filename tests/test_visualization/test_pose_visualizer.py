"""What PoseLocalVisualizer paints, pixel by pixel."""
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData, PixelData

from mmdet_centernet.errors import UserError
from mmdet_centernet.visualization import PoseLocalVisualizer

RED, GREEN, BLUE, PINK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)
CYAN, WHITE, ORANGE = (0, 255, 255), (255, 255, 255), (255, 128, 0)
META = dict(
    classes=('figure', ), palette=[(255, 255, 0)], num_keypoints=3,
    keypoint_colors=[RED, GREEN, BLUE], skeleton_links=[(0, 1), (1, 2)],
    skeleton_link_colors=[PINK, PINK])
GREY = 100
# One figure in an image of 180 x 320.
BOX = [40., 20., 280., 160.]
JOINTS = [[80., 120.], [160., 40.], [240., 120.]]
BETWEEN = [(120, 80), (200, 80)]  # on the two links


def visualizer(meta=META, **settings):
    made = PoseLocalVisualizer(**settings)
    made.dataset_meta = meta
    return made


def people(count=1, **fields):
    return InstanceData(bboxes=torch.tensor([BOX] * count), labels=torch.zeros(count).long(),
                        keypoints=torch.tensor([JOINTS] * count), **fields)


def truth(visible):
    return DetDataSample(gt_instances=people(keypoints_visible=torch.tensor([visible])))


def prediction(scores, score=0.9):
    return DetDataSample(pred_instances=people(
        scores=torch.tensor([score]), keypoint_scores=torch.tensor([scores])))


def drawn(sample, made=None, **options):
    made = made or visualizer()
    made.add_datasample('name', np.full((180, 320, 3), GREY, np.uint8), sample, **options)
    return made.get_image().astype(int)


def is_color(picture, place, color, tolerance=12):
    x, y = map(int, place)
    return np.abs(picture[y, x] - color).max() <= tolerance


def in_half_precision(sample):
    instances = sample.pred_instances
    for name in ('bboxes', 'scores', 'keypoints', 'keypoint_scores'):
        instances[name] = instances[name].bfloat16()
    return sample


def test_joints_and_links_have_their_colors_at_their_places():
    for sample in (truth([2, 2, 2]), prediction([0.9, 0.9, 0.9]),
                   in_half_precision(prediction([0.9, 0.9, 0.9]))):
        picture = drawn(sample)
        assert picture.shape == (180, 320, 3)
        for joint, color in zip(JOINTS, (RED, GREEN, BLUE)):
            assert is_color(picture, joint, color)
        assert all(is_color(picture, place, PINK) for place in BETWEEN)
        assert is_color(picture, (160, 120), [GREY] * 3)  # between joints without a link
        assert is_color(picture, (20, 80), [GREY] * 3)  # outside


def test_a_link_has_two_seen_ends_and_unlabelled_joints_are_not_drawn():
    for picture in (drawn(truth([0, 2, 1])), drawn(prediction([0.29, 0.3, 0.9]))):
        assert is_color(picture, JOINTS[0], [GREY] * 3)
        assert is_color(picture, BETWEEN[0], [GREY] * 3)
        assert is_color(picture, JOINTS[1], GREEN)
        assert is_color(picture, BETWEEN[1], PINK)


def test_occluded_joints_are_rings():
    filled, hollow = drawn(truth([2, 2, 2])), drawn(truth([1, 2, 2]))
    assert is_color(filled, JOINTS[0], RED)
    assert not is_color(hollow, JOINTS[0], RED, 150)
    around = hollow[110:131, 70:91] - [GREY] * 3
    assert (around @ [1, -0.5, -0.5] > 60).any()  # the ring is red
    assert is_color(hollow, JOINTS[1], GREEN)


def test_thresholds():
    nothing = drawn(prediction([0.9] * 3, score=0.2), pred_score_thr=0.2)
    assert (nothing == GREY).all()
    assert (drawn(prediction([0.9] * 3, score=0.2), pred_score_thr=0.1) != GREY).any()
    low = drawn(prediction([0.5] * 3), visualizer(kpt_thr=0.6))
    assert all(is_color(low, joint, [GREY] * 3) for joint in JOINTS)
    assert (low != GREY).any()  # the box
    assert is_color(drawn(prediction([0.5] * 3), visualizer(kpt_thr=0.5)), JOINTS[0], RED)


def test_boxes_are_thin_and_have_the_palettes_color():
    picture = drawn(truth([0, 0, 0]))
    yellow = np.abs(picture - (255, 255, 0)).max(2) < 140
    rows, columns = np.nonzero(yellow)
    assert np.abs(np.array([columns.min(), rows.min(), columns.max(), rows.max()])
                  - BOX).max() <= 1.5
    assert 1 <= yellow[80].sum() <= 4  # both sides together
    boxes = InstanceData(bboxes=HorizontalBoxes([BOX]), labels=torch.zeros(1).long())
    np.testing.assert_array_equal(drawn(DetDataSample(gt_instances=boxes)), picture)


def test_panels_that_there_are():
    sample = truth([2, 2, 2])
    assert drawn(None).shape == drawn(DetDataSample()).shape == (180, 320, 3)
    sample.pred_instances = prediction([0.1] * 3).pred_instances
    both = drawn(sample)
    assert both.shape == (180, 640, 3)
    assert is_color(both, JOINTS[0], RED)
    assert is_color(both, (320 + JOINTS[0][0], JOINTS[0][1]), [GREY] * 3)
    np.testing.assert_array_equal(drawn(sample, draw_gt=False), both[:, 320:])
    np.testing.assert_array_equal(drawn(sample, draw_pred=False), both[:, :320])
    assert (drawn(sample, draw_gt=False, draw_pred=False) == GREY).all()


def test_nobody():
    sample = DetDataSample(
        gt_instances=people()[:0], pred_instances=prediction([1.] * 3).pred_instances[:0])
    sample.gt_instances.keypoints_visible = torch.zeros(0, 3)
    assert (drawn(sample) == GREY).all()


def test_people_beyond_the_border_are_drawn_without_a_word():
    sample = prediction([0.9] * 3)
    instances = sample.pred_instances
    instances.bboxes = torch.tensor([[-120., -40., 380., 260.]])
    instances.keypoints[0, 2] = torch.tensor([-400., float('nan')])
    instances.keypoints[0, 0] = torch.tensor([-80., 40.])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        picture = drawn(sample)
    assert is_color(picture, JOINTS[1], GREEN)
    assert is_color(picture, (40, 40), PINK)  # the link to the joint outside
    assert is_color(picture, BETWEEN[1], [GREY] * 3)


def test_without_a_size_the_joints_tell_how_large_somebody_is():
    sample = truth([2, 2, 2])
    sample.gt_instances.bboxes = torch.zeros(1, 4)
    x, y = JOINTS[0]
    assert is_color(drawn(sample), (x + 2, y), RED)  # not as small as can be


@pytest.mark.parametrize('meta', [
    {}, dict(META, keypoint_colors=[RED] * 2, skeleton_links=[(0, 1)]),
], ids=['none', 'two joints'])
def test_without_the_skeleton_joints_differ_and_have_no_links(meta):
    picture = drawn(truth([2, 2, 2]), visualizer(meta))
    colors = [picture[int(y), int(x)] for x, y in JOINTS]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(colors[first] - colors[second]).max() > 100
    assert all(np.ptp(color) > 100 for color in colors)
    assert all(is_color(picture, place, [GREY] * 3) for place in BETWEEN)


def test_arrays_of_mmpose_and_links_without_colors():
    meta = {key: value for key, value in META.items() if key != 'skeleton_link_colors'}
    meta['keypoint_colors'] = np.array(META['keypoint_colors'], np.uint8)
    picture = drawn(truth([2, 2, 2]), visualizer(meta))
    assert is_color(picture, BETWEEN[0], GREEN) and is_color(picture, BETWEEN[1], BLUE)


def width_of(color, column):
    return (np.abs(column - color).max(axis=1) < 60).sum()


def test_lines_grow_with_the_person_and_the_best_lie_on_top():
    image = np.full((360, 640, 3), GREY, np.uint8)
    widths = []
    for scale in (0.25, 0.5, 1.5):
        sample = truth([2, 2, 2])
        sample.gt_instances.bboxes *= scale
        sample.gt_instances.keypoints *= scale
        made = visualizer()
        made.add_datasample('name', image, sample)
        widths.append(width_of(PINK, made.get_image().astype(int)[:, int(120 * scale)]))
    assert 1 <= widths[0] < widths[1] < widths[2] <= 40
    one = prediction([0.9] * 3).pred_instances
    other = prediction([0.9] * 3, score=0.5).pred_instances
    other.keypoints[0, 0], other.keypoints[0, 1] = one.keypoints[0, 1], one.keypoints[0, 0]
    picture = drawn(DetDataSample(pred_instances=InstanceData.cat([one, other])))
    assert is_color(picture, JOINTS[0], RED) and is_color(picture, JOINTS[1], GREEN)


def with_heatmaps(**metainfo):
    """A peak of joint 1 at cell (7, 5) and one, half as high, of joint 2 at (3, 2)."""
    heatmaps = torch.zeros(3, 24, 40)
    heatmaps[1, 5, 7], heatmaps[2, 2, 3] = 0.8, 0.4
    sample = prediction([0.9] * 3)
    sample.set_metainfo(metainfo)
    sample.pred_fields = PixelData(heatmaps=heatmaps, metainfo=dict(stride=8))
    return sample


def test_heat_maps_are_one_more_panel():
    # The network saw the image at twice its size, moved 16 px to the right.
    matrix = np.array([[2., 0, 16], [0, 2, 0], [0, 0, 1]])
    picture = drawn(with_heatmaps(homography_matrix=matrix))
    assert picture.shape == (180, 640, 3)
    heat = picture[:, 320:]
    first, second = ((7.5 * 8 - 16) / 2, 5.5 * 8 / 2), ((3.5 * 8 - 16) / 2, 2.5 * 8 / 2)
    assert heat[int(first[1]), int(first[0])] @ [-0.5, 1, -0.5] > 150  # green
    assert heat[int(second[1]), int(second[0])] @ [-0.5, -0.5, 1] > 80  # blue, less of it
    assert is_color(heat, (240, 140), [0.6 * GREY] * 3, 1)
    assert (drawn(with_heatmaps(homography_matrix=matrix), draw_pred=False) == GREY).all()


def test_heat_maps_need_their_place():
    with pytest.raises(UserError, match='no homography_matrix: let the test pipeline end in'):
        drawn(with_heatmaps())


def test_out_file_or_backends(tmp_path):
    backend = dict(type='LocalVisBackend', save_dir=str(tmp_path / 'backend'))
    made = visualizer(vis_backends=[backend])
    drawn(truth([2, 2, 2]), made, out_file=str(tmp_path / 'new/out.png'))
    assert not list(tmp_path.glob('backend/**/*.png'))
    written = cv2.imread(str(tmp_path / 'new/out.png'))[..., ::-1].astype(int)
    np.testing.assert_array_equal(written, made.get_image())
    drawn(truth([2, 2, 2]), made, step=3)
    assert [path.name for path in tmp_path.glob('backend/**/*.png')] == ['name_3.png']


BAR = dict(num_keypoints=2, keypoint_colors=[CYAN, WHITE], skeleton_links=[(0, 1)],
           skeleton_link_colors=[ORANGE])
MIXED_META = dict(
    classes=('disc', 'figure', 'bar'), num_keypoints=3,
    palette=[(0, 120, 120), (255, 255, 0), (120, 120, 0)],
    skeletons=dict(figure={key: META[key] for key in (
        'num_keypoints', 'keypoint_colors', 'skeleton_links', 'skeleton_link_colors')}, bar=BAR))
# In an image of 180 x 320: a disc, a figure and a bar, each with the box of its half.
MIXED_BOXES = [[10., 10., 90., 90.], [110., 10., 200., 90.], [210., 10., 310., 170.]]
MIXED_JOINTS = [[[0., 0.], [0., 0.], [0., 0.]], [[130., 80.], [155., 30.], [180., 80.]],
                [[230., 40.], [290., 140.], [0., 0.]]]
BAR_MIDDLE = (260, 90)


def mixed_objects(**fields):
    return InstanceData(bboxes=torch.tensor(MIXED_BOXES), labels=torch.arange(3),
                        keypoints=torch.tensor(MIXED_JOINTS), **fields)


def mixed_truth():
    return DetDataSample(gt_instances=mixed_objects(
        keypoints_visible=torch.tensor([[0, 0, 0], [2, 2, 2], [2, 2, 0]])))


def mixed_prediction():
    return DetDataSample(pred_instances=mixed_objects(
        scores=torch.tensor([0.9, 0.8, 0.7]),
        keypoint_scores=torch.tensor([[0., 0., 0.], [0.9] * 3, [0.9, 0.9, 0.]])))


def test_each_object_has_the_skeleton_of_its_class():
    for sample, threshold in ((mixed_truth(), 0.3), (mixed_prediction(), 0.3),
                              (mixed_prediction(), 0.)):
        picture = drawn(sample, visualizer(MIXED_META, kpt_thr=threshold))
        for joint, color in zip(MIXED_JOINTS[1], (RED, GREEN, BLUE)):
            assert is_color(picture, joint, color)
        assert is_color(picture, (142, 55), PINK) and is_color(picture, (155, 80), [GREY] * 3)
        for joint, color in zip(MIXED_JOINTS[2], (CYAN, WHITE)):
            assert is_color(picture, joint, color)
        assert is_color(picture, BAR_MIDDLE, ORANGE)
        # Padding is drawn nowhere; a disc is a plain box.
        assert is_color(picture, (1, 1), [GREY] * 3)
        assert (picture[40:85, 15:85] == GREY).all()
        assert np.abs(picture[10, 60:80] - (0, 120, 120)).max(1).min() < 40


def test_keypoints_of_other_skeletons_than_the_data_sets_have_colors_far_apart():
    sample = mixed_truth()
    instances = sample.gt_instances
    instances.keypoints = torch.cat([instances.keypoints] * 2, dim=1)
    instances.keypoints[:, 3:] += 5
    instances.keypoints_visible = torch.cat([instances.keypoints_visible] * 2, dim=1)
    picture = drawn(sample, visualizer(MIXED_META))
    assert is_color(picture, BAR_MIDDLE, [GREY] * 3)
    assert not is_color(picture, MIXED_JOINTS[1][1], GREEN)


def test_keypoints_of_one_of_several_skeletons():
    """A model may predict fewer than the data have: of bars alone here."""
    sample = mixed_prediction()
    instances = sample.pred_instances
    found = InstanceData(
        **{key: instances[key] for key in ('bboxes', 'labels', 'scores')},
        keypoints=instances.keypoints[:, :2], keypoint_scores=torch.full((3, 2), 0.9))
    picture = drawn(DetDataSample(pred_instances=found), visualizer(MIXED_META))
    assert is_color(picture, BAR_MIDDLE, ORANGE) and is_color(picture, (142, 55), [GREY] * 3)


def test_heat_maps_of_one_skeleton_have_its_colors():
    """Where others have no keypoints, or keypoints of another number."""
    matrix = np.eye(3)
    for meta in (MIXED_META, dict(META, skeletons=dict(figure=META))):
        sample = with_heatmaps(homography_matrix=matrix)
        del sample.pred_instances
        heat = drawn(sample, visualizer(meta))
        x, y = 7.5 * 8, 5.5 * 8
        assert heat[int(y), int(x)] @ [-0.5, 1, -0.5] > 150  # green
