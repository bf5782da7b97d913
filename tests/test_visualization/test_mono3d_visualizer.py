"""What Mono3DLocalVisualizer paints."""
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmdet_centernet.errors import UserError
from mmdet_centernet.visualization import Mono3DLocalVisualizer
from mmdet_centernet.visualization.mono3d_visualizer import original_camera

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
META = dict(classes=('Pedestrian', 'Car', 'Cyclist'), palette=[RED, GREEN, BLUE])
GRAY = 100
HEIGHT, WIDTH = 250, 830  # is not enlarged
CAMERA = np.array([[480., 0, 405, 30], [0, 480, 115, 0.1], [0, 0, 1, 0.003]])
RESIZED = np.array([[0.5, 0, -20], [0, 0.5, 12], [0, 0, 1]])
# Heads to the right; its nearer side, straight ahead of the camera, is 9.2 m away.
CAR = [0., 1.65, 10., 1.5, 1.6, 3.9, 0.]
PERSON = [4., 1.65, 12., 1.8, 0.6, 0.8, 0.]
MIDDLE_OF_EDGE = np.array([0., 1.65, 9.2])


def visualizer(meta=META, **settings):
    made = Mono3DLocalVisualizer(**settings)
    made.dataset_meta = meta
    return made


def boxes(values, labels, **fields):
    return InstanceData(bboxes_3d=torch.tensor(values).reshape(-1, 7), labels=torch.tensor(
        labels, dtype=torch.int64), **fields)


def sample(truth=None, pred=None, scores=(0.9, 0.8), homography=RESIZED, camera=CAMERA):
    made = DetDataSample(metainfo=dict(
        img_path='road.png', cam2img=homography @ camera,
        homography_matrix=homography.astype(np.float32)))
    if truth is not None:
        made.gt_instances = boxes(truth, [1, 0][:len(truth)])
    if pred is not None:
        made.pred_instances = boxes(pred, [1, 0][:len(pred)],
                                    scores=torch.tensor(scores[:len(pred)]))
    return made


def drawn(data_sample, made=None, size=(HEIGHT, WIDTH), **options):
    made = made or visualizer()
    made.add_datasample('name', np.full((*size, 3), GRAY, np.uint8), data_sample, **options)
    return made.get_image().astype(int)


def place(point, camera=CAMERA):
    u, v, w = camera @ (*point, 1)
    return int(round(u / w)), int(round(v / w))


def near(picture, xy):
    x, y = xy
    return picture[y - 2:y + 3, x - 2:x + 3].reshape(-1, 3)


def is_green(colors):
    return (colors[:, 1] - colors[:, [0, 2]].max(axis=1)).max() > 100


def test_truth_above_predictions_and_both_in_birds_eye_view():
    moved = [1., *CAR[1:]]
    picture = drawn(sample([CAR, PERSON], [moved]))
    assert picture.shape == (2 * HEIGHT, WIDTH + 0.8 * 2 * HEIGHT, 3)
    truth, pred = picture[:HEIGHT, :WIDTH], picture[HEIGHT:, :WIDTH]
    left = place(MIDDLE_OF_EDGE + [-1.6, 0, 0])  # of the one, not of the other
    right = place(MIDDLE_OF_EDGE + [2.6, 0, 0])
    assert is_green(near(truth, left)) and not is_green(near(truth, right))
    assert is_green(near(pred, right)) and not is_green(near(pred, left))
    above = picture[:, WIDTH:]
    assert (above.min(axis=2) > 240).mean() > 0.3  # what the image shows is nearly white
    green = above[..., 1] - above[..., [0, 2]].max(axis=2)
    assert (green[:350, 150:] > 60).any() and (green[:350, :100] < 30).all()
    dark = above.max(axis=2) < 70
    assert dark[:350, 150:].any() and not dark[20:350, 60:140].any()
    # Truth and predictions alone, and neither.
    one = drawn(sample([CAR, PERSON], [moved]), draw_pred=False)
    assert one.shape == (HEIGHT, WIDTH + 0.8 * HEIGHT, 3)
    # But for the caption, as before.
    np.testing.assert_array_equal(one[50:, :WIDTH], truth[50:])
    other = drawn(sample([CAR, PERSON], [moved]), draw_gt=False)
    np.testing.assert_array_equal(other[50:, :WIDTH], pred[50:])
    nothing = drawn(sample([CAR], [CAR]), draw_gt=False, draw_pred=False)
    assert nothing.shape == (HEIGHT, WIDTH, 3) and (nothing == GRAY).all()


def test_high_images_stand_side_by_side():
    assert drawn(sample([CAR], [CAR]), size=(600, 810)).shape == (600, 2 * 810 + 480, 3)
    assert drawn(sample([CAR], [CAR]), size=(405, 810)).shape == (405, 2 * 810 + 324, 3)
    assert drawn(sample([CAR], [CAR]), size=(404, 810)).shape == (808, 810 + 646, 3)


def test_small_images_are_enlarged():
    third = np.diag([1 / 3, 1 / 3, 1]) @ CAMERA
    picture = drawn(sample(pred=[CAR], camera=third), size=(84, 277))
    assert picture.shape == (3 * 84, 3 * 277 + round(0.8 * 3 * 84), 3)
    assert is_green(near(picture, place(MIDDLE_OF_EDGE)))


def test_the_camera_is_that_of_the_original_image():
    flipped = np.array([[-1., 0, WIDTH - 1], [0, 1, 0], [0, 0, 1]])
    pictures = []
    for homography in (np.eye(3), RESIZED, flipped @ RESIZED):
        made = sample([CAR], [PERSON], homography=homography)
        np.testing.assert_allclose(original_camera(made.metainfo), CAMERA, atol=1e-3)
        pictures.append(drawn(made))
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.01
    assert np.abs(pictures[0] - pictures[2]).mean() < 0.01
    made.set_metainfo(dict(cam2img=(flipped @ RESIZED @ CAMERA).tolist()))
    np.testing.assert_array_equal(drawn(made), pictures[2])


@pytest.mark.parametrize('name', ['cam2img', 'homography_matrix'])
def test_without_a_camera(name):
    made = sample([CAR])
    made.set_metainfo({name: None})
    with pytest.raises(UserError, match=f'road.png, because the data sample has no {name}: '
                                        'let the test pipeline end in '
                                        'mmdet_centernet.PackMono3DInputs'):
        drawn(made)
    assert (drawn(made, draw_gt=False) == GRAY).all()


def test_thresholds():
    shown = drawn(sample(pred=[CAR, PERSON], scores=(0.3, 0.9)))
    assert not is_green(near(shown, place(MIDDLE_OF_EDGE)))
    shown = drawn(sample(pred=[CAR, PERSON], scores=(0.3, 0.9)), pred_score_thr=0.2)
    assert is_green(near(shown, place(MIDDLE_OF_EDGE)))


def test_pictures_without_detections():
    for made in (sample([], []), sample([], [CAR], scores=(0.1, ))):
        picture = drawn(made)
        below = picture[50:HEIGHT, :WIDTH], picture[HEIGHT + 50:, :WIDTH]
        assert all((panel == GRAY).all() for panel in below)
        assert np.ptp(picture[:, WIDTH:]) > 100
    for made in (None, DetDataSample(), DetDataSample(gt_instances=InstanceData(
            bboxes=torch.zeros(1, 4), labels=torch.zeros(1).long()))):
        picture = drawn(made)
        assert picture.shape == (HEIGHT, WIDTH, 3) and (picture == GRAY).all()


def test_half_precision_and_odd_boxes_are_drawn_without_warnings():
    made = sample(pred=[CAR, [np.nan, *PERSON[1:]]])
    for name in ('bboxes_3d', 'scores'):
        made.pred_instances[name] = made.pred_instances[name].bfloat16()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        picture = drawn(made)
        drawn(sample([CAR, [0., 1.65, -3, 1.5, 1.6, 3.9, 0]], [[0.] * 7]))
    assert is_green(near(picture, place(MIDDLE_OF_EDGE)))


@pytest.mark.parametrize('meta', [{}, dict(classes=('Pedestrian', ), palette=[BLUE])],
                         ids=['none', 'too few'])
def test_without_names_and_colors(meta):
    picture = drawn(sample(pred=[CAR, PERSON]), visualizer(meta))
    assert np.ptp(near(picture, place(MIDDLE_OF_EDGE)), axis=1).max() > 40


def test_out_file_or_backends(tmp_path):
    backend = dict(type='LocalVisBackend', save_dir=str(tmp_path / 'backend'))
    made = visualizer(vis_backends=[backend])
    drawn(sample([CAR]), made, out_file=str(tmp_path / 'new/out.png'))
    assert not list(tmp_path.glob('backend/**/*.png'))
    written = cv2.imread(str(tmp_path / 'new/out.png'))[..., ::-1].astype(int)
    np.testing.assert_array_equal(written, made.get_image())
    drawn(sample([CAR]), made, step=3)
    assert [path.name for path in tmp_path.glob('backend/**/*.png')] == ['name_3.png']
