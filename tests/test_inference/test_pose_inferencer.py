"""The inferencer with a pose model: keypoints, skeletons, heatmaps."""
import json
import warnings

import cv2
import numpy as np
import pose_project
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from pose_project import COLORS, LINK_COLOR

from mmdet_centernet.apis import CenterNetInferencer
from mmdet_centernet.datasets.skeleton import COCO_SKELETON
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.models.properties import Keypoints
from mmdet_centernet.registry import MODELS
from mmdet_centernet.visualization import PoseLocalVisualizer

ONE = "model['test_cfg'].update(topk=1, max_per_img=1)\n"
PLAIN = np.full((64, 96, 3), 40, np.uint8)
FIELDS = ('bboxes', 'scores', 'labels', 'keypoints', 'keypoint_scores')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('pose')


@pytest.fixture(scope='module')
def photos(folder):
    return pose_project.write_data(folder)


@pytest.fixture(scope='module')
def photo(photos):
    return str(photos / 'img_0.png')


@pytest.fixture(scope='module')
def config(folder, photos):
    """Config of a model that finds one figure in an image."""
    return pose_project.write_config(folder, photos, extra=ONE)


@pytest.fixture(scope='module')
def weights(folder, config):
    return saved(folder / 'weights.pth', dict(state_dict=pose_project.weights_of(config)))


@pytest.fixture(scope='module')
def inferencer(config, weights):
    """An inferencer that draws boxes in none of the keypoints' colors."""
    return CenterNetInferencer(config, weights, device='cpu', palette='white')


def saved(path, content):
    torch.save(content, path)
    return path


# Predictions.

@pytest.mark.parametrize('options', [dict(), dict(resolution='fix', tta='flip'), dict(tta='ms')],
                         ids=str)
def test_equals_testing(folder, photos, options):
    """The keypoints of random weights are those of the testing path, with every test option."""
    path = pose_project.write_config(folder, photos, 'random.py')
    settings = Config.fromfile(path)
    apply_test_options(settings, **options)
    torch.manual_seed(0)
    model = MODELS.build(settings.model).eval()
    detector = getattr(model, 'module', model)
    detector.bbox_head.find_property(Keypoints).flip_pairs = [(0, 1), (2, 3)]
    checkpoint = saved(folder / 'random.pth', dict(state_dict=detector.state_dict()))
    # The pairs of left and right come from the names of the config's keypoints.
    found = CenterNetInferencer(path, checkpoint, **options)(
        str(photos), return_datasamples=True)['predictions']
    dataset = Runner.build_dataloader(settings.test_dataloader).dataset
    for index, sample in enumerate(found):
        with torch.no_grad():
            expected, = model.test_step(pseudo_collate([dataset[index]]))
        assert sample.pred_instances.keypoints.shape == (20, 4, 2)
        for field in FIELDS:
            torch.testing.assert_close(
                sample.pred_instances[field], expected.pred_instances[field])


def test_keypoints_in_dictionaries_and_files(inferencer, photo, tmp_path):
    plain, = inferencer([photo], out_dir=tmp_path, no_save_pred=False)['predictions']
    left, top, right, bottom = plain['bboxes'][0]
    assert (right - left, bottom - top) == pytest.approx((40, 24))
    corners = [[left, top], [right, top], [left, bottom], [right, bottom]]
    np.testing.assert_allclose(plain['keypoints'], [corners], atol=1e-4)
    np.testing.assert_allclose(plain['keypoint_scores'], [[0.9] * 4], atol=1e-6)
    assert set(plain) == set(FIELDS)
    assert json.loads((tmp_path / 'preds/img_0.json').read_text()) == plain
    inferencer(cv2.imread(photo), out_dir=tmp_path, no_save_pred=False)
    assert sorted(path.name for path in (tmp_path / 'preds').iterdir()) == ['1.json', 'img_0.json']
    assert sorted(path.name for path in (tmp_path / 'vis').iterdir()) == [
        '00000001.jpg', 'img_0.png']


# Drawing.

def picture(inferencer, photo, **options):
    """Return the drawn image and the keypoints of the one figure."""
    result = inferencer(photo, return_vis=True, **options)
    joints = np.array(result['predictions'][0]['keypoints'][0])
    return result['visualization'][0].astype(int), joints


def has_color(image, place, color):
    """Return whether a pixel next to the place, which may be on the border, has the color."""
    x, y = np.clip(np.array(place, int), 1, [image.shape[1] - 2, image.shape[0] - 2])
    return np.abs(image[y - 1:y + 2, x - 1:x + 2] - color).max(-1).min() < 90


def test_visualizer_of_a_pose_model(config, weights, inferencer):
    settings = Config.fromfile(config)
    settings.visualizer = dict(type='mmdet.DetLocalVisualizer')
    other = CenterNetInferencer(settings, weights, palette='white')
    assert type(other.visualizer) is PoseLocalVisualizer
    image, joints = picture(other, PLAIN)
    assert image.shape == (64, 96, 3)
    for place, color in zip(joints, COLORS):
        assert has_color(image, place, color)
    assert has_color(image, joints[:2].mean(0), LINK_COLOR)
    assert has_color(image, joints[[0, 2]].mean(0), LINK_COLOR)
    assert not has_color(image, joints[2:].mean(0), LINK_COLOR)
    np.testing.assert_array_equal(picture(inferencer, PLAIN)[0], image)


def test_visualizer_of_the_config(config, weights):
    settings = Config.fromfile(config)
    settings.visualizer.update(kpt_thr=0.7, vis_backends=[dict(type='LocalVisBackend')])
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # a backend without a folder would complain
        assert CenterNetInferencer(settings, weights).visualizer.kpt_thr == 0.7


def test_thresholds_of_drawing(inferencer):
    assert (picture(inferencer, PLAIN, pred_score_thr=0.95)[0] == PLAIN).all()
    image, joints = picture(inferencer, PLAIN, kpt_thr=0.95)
    assert not any(has_color(image, *pair) for pair in zip(joints, COLORS))
    assert (image != PLAIN).any()  # the box
    image, joints = picture(inferencer, PLAIN)  # the threshold was for that call
    assert all(has_color(image, *pair) for pair in zip(joints, COLORS))


def test_keypoints_of_objects_over_the_border_are_drawn(folder, config):
    """The box may have no area within the image."""
    state = pose_project.weights_of(config, size=(40, 24))
    state['bbox_head.stacks.0.wh.2.bias'] = torch.tensor([-6., -6.])
    inside_out = CenterNetInferencer(config, saved(folder / 'out.pth', dict(state_dict=state)))
    image, joints = picture(inside_out, PLAIN)
    assert all(has_color(image, *pair) for pair in zip(joints, COLORS))
    large = dict(state_dict=pose_project.weights_of(config, size=(300, 30)))
    over = CenterNetInferencer(config, saved(folder / 'over.pth', large))
    image, joints = picture(over, PLAIN)
    assert joints[0, 0] < 0 and joints[1, 0] > 96
    assert has_color(image, (48, joints[0, 1]), LINK_COLOR)


@pytest.mark.parametrize('tta', [None, 'flip'])
def test_draw_heatmap(folder, config, photo, tta):
    state = pose_project.weights_of(config, keypoint_score=0.05)
    state['bbox_head.stacks.0.keypoint_heatmap.2.bias'][1] = torch.tensor(0.4).logit()
    inferencer = CenterNetInferencer(
        config, saved(folder / 'heat.pth', dict(state_dict=state)), tta=tta)
    sample, = inferencer(photo, return_datasamples=True, draw_heatmap=True)['predictions']
    heatmaps = sample.pred_fields.heatmaps
    assert heatmaps.shape[0] == 4 and sample.pred_fields.stride == 4
    # The flipped heatmap of the right corners is that of the left corners.
    peaks = [0.225, 0.225, 0.05, 0.05] if tta else [0.05, 0.4, 0.05, 0.05]
    torch.testing.assert_close(heatmaps.amax((1, 2)), torch.tensor(peaks))
    image, _ = picture(inferencer, photo, draw_heatmap=True)
    assert image.shape == (64, 192, 3)
    heat = image[:, 96:].reshape(-1, 3).mean(0)
    assert heat[1] > 1.5 * heat[2]  # the second keypoint's green, and red if flipped
    assert (heat[0] > 0.5 * heat[1]) == bool(tta)
    assert picture(inferencer, photo)[0].shape == (64, 96, 3)
    without, = inferencer(photo, return_datasamples=True)['predictions']
    assert 'pred_fields' not in without


# Skeletons.

def with_meta(weights, folder, **meta):
    content = torch.load(weights, weights_only=True)
    return saved(folder / 'meta.pth', dict(content, meta=dict(dataset_meta=meta)))


def pairs_of(model):
    return model.bbox_head.find_property(Keypoints).flip_pairs


SKELETON = dict(
    num_keypoints=4, keypoint_id2name=dict(enumerate('abcd')), flip_pairs=[(0, 3)],
    keypoint_name2id=dict(zip('abcd', range(4))), flip_indices=[3, 1, 2, 0],
    keypoint_colors=[(1, 2, 3)] * 4, skeleton_links=[(0, 3)], skeleton_link_colors=[(4, 5, 6)],
    sigmas=[0.1] * 4)


def test_skeleton_of_the_checkpoint(config, weights, tmp_path):
    path = with_meta(weights, tmp_path, classes=('one', 'two'), **SKELETON)
    inferencer = CenterNetInferencer(config, path, palette='red')
    assert inferencer.model.dataset_meta == dict(
        SKELETON, classes=('one', 'two'), palette=[(255, 0, 0)] * 2)
    assert inferencer.visualizer.dataset_meta == inferencer.model.dataset_meta
    assert pairs_of(inferencer.model) == [(0, 3)]
    # Pairs that the config gives stay.
    settings = Config.fromfile(config)
    settings.model.bbox_head.flip_pairs = [(1, 2)]
    assert pairs_of(CenterNetInferencer(settings, path).model) == [(1, 2)]


def test_skeleton_of_the_config(config, weights, tmp_path, inferencer):
    names = dict(enumerate(pose_project.NAMES))
    assert inferencer.model.dataset_meta['keypoint_id2name'] == names
    # The checkpoint has names for the classes only, or another data set's skeleton.
    path = with_meta(weights, tmp_path, classes=('one', 'two'))
    meta = CenterNetInferencer(config, path).model.dataset_meta
    assert meta['classes'] == ('one', 'two') and meta['keypoint_id2name'] == names
    path = with_meta(weights, tmp_path, classes=('one', 'two'), **COCO_SKELETON)
    with pytest.warns(UserWarning, match='data set has 17 keypoints, but .* 4') as said:
        meta = CenterNetInferencer(config, path).model.dataset_meta
    assert len(said) == 1 and said[0].filename == __file__
    assert meta['classes'] == ('square', 'disc') and meta['keypoint_id2name'] == names


@pytest.mark.parametrize('count, words', [(17, None), (5, 'describes a skeleton of 5 keypoints')])
def test_skeleton_of_neither(folder, photos, photo, count, words):
    """It is COCO's for as many keypoints; else there are no links and no flip pairs."""
    path = pose_project.write_config(
        folder, photos, f'{count}.py', count, dict(classes=('square', 'disc')), extra=ONE)
    state = saved(folder / f'{count}.pth', dict(state_dict=pose_project.weights_of(path)))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        inferencer = CenterNetInferencer(path, state, tta='flip')
    said = [each for each in said if issubclass(each.category, UserWarning)]
    assert [each.filename for each in said] == [__file__] * bool(words)
    assert not words or words in str(said[0].message)
    if not words:
        assert inferencer.model.dataset_meta['skeleton_links'] == COCO_SKELETON['skeleton_links']
        assert pairs_of(inferencer.model.module) == COCO_SKELETON['flip_pairs']
        assert inferencer(photo, return_vis=True)['visualization']
        return
    with pytest.raises(UserError, match='which keypoints are left and right'):
        inferencer(photo)
    assert CenterNetInferencer(path, state)(photo, return_vis=True)['visualization']


def test_options_for_keypoints_of_a_model_without(photos, tmp_path):
    boxes = CenterNetInferencer(pose_project.tiny_project.write_config(tmp_path, photos))
    for options in (dict(kpt_thr=0.5), dict(draw_heatmap=True)):
        with pytest.raises(UserError, match='has a CenterNetHead, which predicts none'):
            boxes(str(photos), out_dir=tmp_path / 'out', **options)
    assert not (tmp_path / 'out').exists()
