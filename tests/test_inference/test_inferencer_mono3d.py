"""The inferencer with a 3D model: cameras, 3D boxes, drawn images."""
import json
import re
from pathlib import Path

import cv2
import mono3d_project
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mono3d_project import CAR, HEIGHT, WIDTH, camera

from mmdet_centernet.apis import CenterNetInferencer
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.registry import MODELS
from mmdet_centernet.visualization import Mono3DLocalVisualizer

ONE = "model['test_cfg'].update(topk=1, max_per_img=1)\n"
PLAIN = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
FIELDS = ('bboxes', 'scores', 'labels', 'bboxes_3d', 'alpha', 'depth')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('mono3d')


@pytest.fixture(scope='module')
def data(folder):
    return mono3d_project.write_data(folder)


@pytest.fixture(scope='module')
def photos(data):
    return data / 'training/image_2'


@pytest.fixture(scope='module')
def calib(data):
    return data / 'training/calib'


@pytest.fixture(scope='module')
def photo(photos):
    return str(photos / '000000.png')


@pytest.fixture(scope='module')
def config(folder, data):
    """Config of a model that finds one object in an image."""
    return mono3d_project.write_config(folder, data, extra=ONE)


@pytest.fixture(scope='module')
def weights(folder, config):
    return saved(folder / 'weights.pth', dict(state_dict=mono3d_project.weights_of(config)))


@pytest.fixture(scope='module')
def inferencer(config, weights):
    return CenterNetInferencer(config, weights, device='cpu')


def saved(path, content):
    torch.save(content, path)
    return path


def boxes_3d(inferencer, inputs, cam2img, **options):
    """Return ``bboxes_3d`` of the one object of each input."""
    found = inferencer(inputs, cam2img=cam2img, return_datasamples=True, **options)
    return [sample.pred_instances.bboxes_3d[0].double().numpy()
            for sample in found['predictions']]


def expected_box(bbox, matrix):
    """Return the 3D box of a 2D box, computed with scalars."""
    u, v = (bbox[0] + bbox[2]) / 2, (bbox[1] + bbox[3]) / 2
    z, (h, w, length) = CAR['depth'], CAR['dims']
    depth = z + matrix[2, 3]
    x = (u * depth - matrix[0, 2] * z - matrix[0, 3]) / matrix[0, 0]
    y = (v * depth - matrix[1, 2] * z - matrix[1, 3]) / matrix[1, 1] + h / 2
    turn = CAR['alpha'] + np.arctan2(u - matrix[0, 2], matrix[0, 0])
    return [x, y, z, h, w, length, turn]


# Predictions.

@pytest.mark.parametrize('options', [
    dict(), dict(resolution='keep'), dict(resolution='fix', tta='flip')], ids=str)
def test_equals_testing(folder, data, photos, calib, options):
    """The boxes of random weights are those of the testing path, with every test option."""
    path = mono3d_project.write_config(folder, data, 'random.py')
    settings = Config.fromfile(path)
    apply_test_options(settings, **options)
    torch.manual_seed(0)
    model = MODELS.build(settings.model).eval()
    detector = getattr(model, 'module', model)
    checkpoint = saved(folder / 'random.pth', dict(state_dict=detector.state_dict()))
    found = CenterNetInferencer(path, checkpoint, **options)(
        str(photos), cam2img=calib, return_datasamples=True, batch_size=2)['predictions']
    dataset = Runner.build_dataloader(settings.test_dataloader).dataset
    assert len(found) == len(dataset) == 3
    for index, sample in enumerate(found):
        with torch.no_grad():
            expected, = model.test_step(pseudo_collate([dataset[index]]))
        assert sample.pred_instances.bboxes_3d.shape == (20, 7)
        for field in FIELDS:
            torch.testing.assert_close(
                sample.pred_instances[field], expected.pred_instances[field])


def test_cameras_of_each_input(inferencer, photos, calib):
    files = sorted(map(str, photos.iterdir()))
    cameras = [camera(1), calib / '000002.txt', camera(0)[:, :3]]
    without_offset = camera(0) * [1, 1, 1, 0]
    inputs = [files[0], cv2.imread(files[1]), files[2]]
    found = inferencer(inputs, cam2img=cameras, return_datasamples=True, batch_size=2)
    for sample, matrix in zip(found['predictions'], (camera(1), camera(2), without_offset)):
        instances = sample.pred_instances
        expected = expected_box(instances.bboxes[0].tolist(), matrix)
        np.testing.assert_allclose(instances.bboxes_3d[0], expected, atol=1e-4)
        assert instances.labels == CAR['label']
        assert instances.alpha.item() == pytest.approx(CAR['alpha'], abs=1e-4)
        assert instances.depth.item() == pytest.approx(CAR['depth'], abs=1e-4)


@pytest.mark.parametrize('give', [
    lambda calib: camera(0), lambda calib: camera(0).tolist(),
    lambda calib: tuple(map(tuple, camera(0))), lambda calib: torch.from_numpy(camera(0)),
    lambda calib: camera(0).astype(np.float32), lambda calib: [camera(0)] * 2,
    lambda calib: calib / '000000.txt', lambda calib: str(calib / '000000.txt'),
    lambda calib: [str(calib / '000000.txt'), camera(0).tolist()],
], ids=['array', 'lists', 'tuples', 'tensor', 'float32', 'list of arrays', 'Path', 'str',
        'list of file and lists'])
def test_cameras_of_every_kind(inferencer, photo, calib, give):
    given = give(calib)
    for one in boxes_3d(inferencer, [photo, PLAIN], given):
        np.testing.assert_allclose(
            one, boxes_3d(inferencer, photo, camera(0))[0], atol=1e-5)


def test_cameras_in_a_folder(inferencer, photos, calib):
    by_name = boxes_3d(inferencer, photos, str(calib))
    listed = boxes_3d(inferencer, photos, [camera(index) for index in range(3)])
    np.testing.assert_allclose(by_name, listed, atol=1e-5)
    assert np.abs(np.diff(by_name, axis=0)).max() > 0.1
    turned = boxes_3d(inferencer, [str(photos / '000002.png')], calib)
    np.testing.assert_allclose(turned[0], by_name[2], atol=1e-5)


def test_3d_boxes_in_dictionaries_and_files(inferencer, photo, tmp_path):
    plain, = inferencer([photo], cam2img=camera(), out_dir=tmp_path,
                        no_save_pred=False)['predictions']
    assert set(plain) == set(FIELDS)
    assert plain['depth'] == pytest.approx([CAR['depth']], abs=1e-4)
    np.testing.assert_allclose(
        plain['bboxes_3d'], [expected_box(plain['bboxes'][0], camera())], atol=1e-4)
    assert json.loads((tmp_path / 'preds/000000.json').read_text()) == plain
    assert [path.name for path in (tmp_path / 'vis').iterdir()] == ['000000.png']


# Errors.

@pytest.mark.parametrize('cam2img, words', [
    (None, 'CenterNetMono3DHead predicts 3D boxes, which requires the camera matrix: give'),
    (np.eye(4), r'cam2img has the shape \(4, 4\): a camera is 3 x 4, or 3 x 3'),
    (camera().flatten(), r'cam2img has the shape \(12,\)'),
    (np.stack([camera()] * 2), r'shape \(2, 3, 4\)'),
    (camera() * [[1, 1, np.nan, 1]], 'cam2img has entries that are not finite numbers'),
    (camera() + [[0] * 4, [np.inf] * 4, [0] * 4], 'not finite numbers'),
    (camera() * [[-1], [1], [1]], 'focal lengths -150 and 150 px .* both must be positive'),
    (camera() * [[1], [0], [1]], 'focal lengths 150 and 0 px'),
    (2 * camera(), r'has 0 at \[1, 0\] and \[0.0, 0.0, 2.0\] as its last row'),
    (camera() + [[0] * 4, [3, 0, 0, 0], [0] * 4], r'has 3 at \[1, 0\]'),
    ([camera()] * 3, r'a list of 3 for 2 input\(s\): give one for each, or a single one'),
    ([], r'a list of 0 for 2 input\(s\)'),
    ([camera(), None], r'cam2img\[1\] is None that holds no matrix|cam2img\[1\] has the shape'),
    ([camera(), camera()[:2]], r'cam2img\[1\] has the shape \(2, 4\)'),
    ('missing.txt', 'missing.txt'),
    (dict(P2=camera()), 'cam2img is a dict that holds no matrix: give 3 x 4 numbers or the path'),
    ([['a'] * 4] * 3, 'cam2img'),
], ids=lambda value: None if isinstance(value, str) else '')
def test_wrong_cameras(inferencer, photo, tmp_path, cam2img, words):
    with pytest.raises(UserError, match=words) as raised:
        inferencer([photo, photo], cam2img=cam2img, out_dir=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    assert '\n' not in str(raised.value)


def test_wrong_calib_files(inferencer, photo, photos, calib, tmp_path):
    with pytest.raises(UserError, match=r'inputs\[1\] is an array, which has no file name to'):
        inferencer([photo, PLAIN], cam2img=calib)
    (tmp_path / '000000.txt').write_text((calib / '000000.txt').read_text())
    with pytest.raises(UserError, match=re.escape(str(tmp_path / '000001.txt'))):
        inferencer(photos, cam2img=tmp_path)
    (tmp_path / '000000.txt').write_text('P2: 1 2 3\n')
    with pytest.raises(UserError, match=r'line 1 of .*000000.txt.*12 finite numbers'):
        inferencer(photo, cam2img=tmp_path / '000000.txt')


def test_camera_for_a_model_without_3d_boxes(folder, data):
    path = mono3d_project.tiny_project.write_config(folder, data, 'flat.py')
    with pytest.warns(UserWarning):
        flat = CenterNetInferencer(path)
    with pytest.raises(UserError, match=(
            "3D boxes need, but the model's CenterNetHead predicts none: leave it out")):
        flat(PLAIN, cam2img=camera())


def test_multi_scale_testing_is_refused(config, weights):
    with pytest.raises(UserError, match="tta='ms' is not for 3D boxes .* use tta='flip'"):
        CenterNetInferencer(config, weights, tta='ms')


def test_resolution_of_training(config):
    """``'fix'`` restores the size and the fit of training after ``'keep'``."""
    settings = Config.fromfile(config)
    apply_test_options(settings, resolution='keep')
    assert settings.test_dataloader.dataset.pipeline[1] == dict(
        type='mmdet_centernet.CenterPad', pad_mask=31)
    apply_test_options(settings, resolution='fix')
    assert settings.test_dataloader.dataset.pipeline[1] == dict(
        type='mmdet_centernet.CenterResize', size=(192, 64), fit='width')


def test_resolution_of_images_as_one_camera_sees_them(config):
    settings = Config.fromfile(config)
    view = dict(type='mmdet_centernet.CenterResize', size=(192, 64), camera=(140, 90, 35))
    settings.test_dataloader.dataset.pipeline[1] = dict(view)
    with pytest.raises(UserError, match="resolution='keep' leaves images as their own cameras"):
        apply_test_options(settings, resolution='keep')
    settings.train_dataloader.dataset.pipeline[3].camera = (140, 90, 35)
    settings.test_dataloader.dataset.pipeline[1] = dict(
        type='mmdet_centernet.CenterPad', pad_mask=31)
    apply_test_options(settings, resolution='fix')
    assert settings.test_dataloader.dataset.pipeline[1] == dict(view, fit='width')


# Drawing.

def picture(inferencer, photo=PLAIN, **options):
    """Return the drawn image, its zoom and the one box."""
    result = inferencer(photo, cam2img=camera(), return_vis=True, **options)
    image = result['visualization'][0].astype(int)
    return image, image.shape[0] // HEIGHT, np.array(result['predictions'][0]['bboxes_3d'][0])


def green_near(image, place):
    x, y = (int(round(value)) for value in place)
    around = image[max(y - 3, 0):y + 4, max(x - 3, 0):x + 4].reshape(-1, 3)
    return (around[:, 1] - around[:, [0, 2]].max(axis=1)).max() > 100


def test_visualizer_of_a_3d_model(config, weights, inferencer):
    image, zoom, box = picture(inferencer)
    assert zoom == 4 and image.shape == (4 * HEIGHT, 4 * WIDTH + round(0.8 * 4 * HEIGHT), 3)
    middles = []  # of the front's edges at the bottom and at the top, where they are in the image
    for height in (0, box[3]):
        front = box[:3] + [box[5] / 2 * np.cos(box[6]), -height, -box[5] / 2 * np.sin(box[6])]
        u, v, w = camera() @ (*front, 1)
        if 0 < u / w < WIDTH and 0 < v / w < HEIGHT:
            middles.append((zoom * u / w, zoom * v / w))
    assert middles and all(green_near(image, middle) for middle in middles)
    assert ((image[:, 4 * WIDTH:] @ [-0.5, 1, -0.5]) > 100).any()
    settings = Config.fromfile(config)
    settings.visualizer = dict(type='mmdet.DetLocalVisualizer')
    other = CenterNetInferencer(settings, weights)
    assert type(other.visualizer) is Mono3DLocalVisualizer
    np.testing.assert_array_equal(picture(other)[0], image)
    assert not ((picture(inferencer, pred_score_thr=0.95)[0] @ [-0.5, 1, -0.5]) > 60).any()


def test_drawn_images_of_arrays_and_files(inferencer, photo, tmp_path):
    one = inferencer(photo, cam2img=camera(), return_vis=True)['visualization'][0]
    other = inferencer(cv2.imread(photo), cam2img=camera(), return_vis=True,
                       out_dir=tmp_path)['visualization'][0]
    np.testing.assert_array_equal(one, other)
    written, = Path(tmp_path / 'vis').iterdir()
    assert cv2.imread(str(written)).shape == one.shape
