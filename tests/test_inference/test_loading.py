"""Loading of a detector with what the data set says about its properties."""
import warnings

import pytest
import tiny_project
import torch
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.apis import CenterNetInferencer
from mmdet_centernet.datasets.skeleton import parse_skeleton
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.drawing import choose_visualizer
from mmdet_centernet.inference.loading import load_detector
from mmdet_centernet.models.properties import Attribute, Keypoints
from mmdet_centernet.registry import MODELS
from mmdet_centernet.visualization import CenterNetLocalVisualizer, Mono3DLocalVisualizer

CLASSES = ('person', 'apple')
SKELETON = parse_skeleton(category=dict(keypoints=['left_hand', 'right_hand', 'nose']))
RIPENESS = dict(kind='class', values=['green', 'ripe'])
HEAD = """
model['bbox_head'] = dict(
    type='mmdet_centernet.CenterHead', num_classes=2, in_channels=8, feat_channels=8,
    properties=[
        dict(type='mmdet_centernet.Box'),
        dict(type='mmdet_centernet.Keypoints', num_keypoints=3, classes=['person']),
        dict(type='mmdet_centernet.Attribute', name='ripeness', num_classes=2)])
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('loading')


@pytest.fixture(scope='module')
def config(folder):
    data = tiny_project.write_data(folder, 1, CLASSES)
    return Config.fromfile(tiny_project.write_config(
        folder, data, 'composed.py', CLASSES, extra=HEAD))


@pytest.fixture(scope='module')
def state(config):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return MODELS.build(config.model).state_dict()


def load(config, state, folder, **meta):
    """Load a detector from a checkpoint with a data set's metainfo."""
    path = folder / 'weights.pth'
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=meta)), path)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        return load_detector(config, path)


def test_load_detector_passes_metainfo_to_the_properties(config, state, folder):
    model = load(config, state, folder, classes=CLASSES, attributes=dict(ripeness=RIPENESS),
                 skeletons=dict(person=SKELETON), **SKELETON)
    head = model.bbox_head
    assert not model.training and model.cfg is config
    assert head.find_property(Keypoints).flip_pairs == [(0, 1)]
    assert head.find_property(Keypoints).labels == (0,)
    assert head.find_property(Attribute).values == ['green', 'ripe']
    meta = model.dataset_meta
    assert meta['skeletons'] == dict(person=SKELETON)
    assert meta['attributes'] == dict(ripeness=RIPENESS)
    # A checkpoint of this model gives the same again.
    assert load(config, state, folder, **meta).dataset_meta == meta


def test_load_detector_takes_from_the_config_what_the_checkpoint_lacks(config, state, folder):
    settings = config.copy()
    for loader in (settings.test_dataloader, settings.train_dataloader):
        loader.dataset.type = 'mmdet_centernet.CocoPoseDataset'
        loader.dataset.metainfo = dict(
            classes=CLASSES, attributes=dict(ripeness=RIPENESS), skeletons=dict(person=SKELETON))
    model = load(settings, state, folder, classes=('person', 'pear'), palette=[(1, 2, 3)] * 2)
    meta = model.dataset_meta
    assert meta['classes'] == ('person', 'pear') and meta['palette'] == [(1, 2, 3)] * 2
    assert meta['attributes'] == dict(ripeness=RIPENESS)
    assert meta['skeletons'] == dict(person=SKELETON)
    assert model.bbox_head.find_property(Keypoints).flip_pairs == [(0, 1)]


@pytest.mark.parametrize('meta, words', [
    (dict(classes=('dog', 'apple')), "names the class 'person', which the data set does not"),
    (dict(classes=CLASSES, attributes=dict(age=dict(kind='number'))),
     "predicts the attribute 'ripeness', which the data set does not have"),
    (dict(classes=CLASSES, attributes=dict(ripeness=dict(kind='class', values=['a', 'b', 'c']))),
     'num_classes=3')])
def test_load_detector_of_a_checkpoint_of_other_data(config, state, folder, meta, words):
    with pytest.raises(UserError, match=words):
        load(config, state, folder, **dict(SKELETON, **meta))


def test_inferencer_names_attributes(config, state, folder):
    path = folder / 'named.pth'
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(
        SKELETON, classes=CLASSES, attributes=dict(ripeness=RIPENESS)))), path)
    inferencer = CenterNetInferencer(config, path, device='cpu')
    image = str(folder / 'data/img_0.png')
    result = inferencer(image, return_vis=True)
    found, = result['predictions']
    assert len(found['attributes']) == len(found['scores']) == 20
    for named, probabilities in zip(found['attributes'], found['attribute_ripeness']):
        best = max(probabilities)
        assert named == dict(ripeness=dict(
            value=RIPENESS['values'][probabilities.index(best)], score=best))
    assert result['visualization'][0].shape == (64, 96, 3)
    assert type(inferencer.visualizer) is CenterNetLocalVisualizer


@pytest.mark.parametrize('task, has_attributes, expected', [
    ('detection', False, DetLocalVisualizer), ('detection', True, CenterNetLocalVisualizer),
    ('pose', False, CenterNetLocalVisualizer), ('mono3d', True, Mono3DLocalVisualizer)])
def test_choose_visualizer(task, has_attributes, expected):
    assert choose_visualizer(task, has_attributes) is expected
