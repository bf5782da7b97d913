"""Real small models, exported: they detect what the inferencer detects."""
import json

import cv2
import mono3d_project
import numpy as np
import pose_project
import pytest
import tiny_project
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from spread_weights import spread_outputs

from mmdet_centernet.apis import CenterNetInferencer, ExportedDetector
from mmdet_centernet.datasets.skeleton import parse_skeleton
from mmdet_centernet.errors import UserError
from mmdet_centernet.export.export import export
from mmdet_centernet.inference.loading import load_detector
from mmdet_centernet.models.properties import Branch, Property, flip_map
from mmdet_centernet.registry import MODELS

PIXELS, OTHERS = 0.05, 1e-3
CLASSES = ('person', 'apple', 'stone')
ATTRIBUTES = dict(
    ripeness=dict(kind='class', values=['green', 'ripe', 'rotten']),
    marks=dict(kind='multi_label', values=['wet', 'bruised']),
    age=dict(kind='number'))
PROPERTIES = [
    dict(type='mmdet_centernet.Box'),
    dict(type='mmdet_centernet.Attribute', name='ripeness', num_classes=3),
    dict(type='mmdet_centernet.Attribute', name='marks', kind='multi_label', num_classes=2),
    dict(type='mmdet_centernet.Attribute', name='age', kind='number', mean=5.0, std=2.0),
    dict(type='mmdet_centernet.Keypoints', num_keypoints=4, classes=['person']),
    dict(type='mmdet_centernet.Keypoints', num_keypoints=2, classes=['apple'], name='stem')]
SKELETONS = dict(
    person=parse_skeleton(category=dict(keypoints=pose_project.NAMES, skeleton=[[1, 2]])),
    apple=parse_skeleton(category=dict(keypoints=['stem', 'base'])))


def flip_tips(values):
    return flip_map(values) * values.new_tensor([-1, 1])[:, None, None]


class Tip(Property):
    """Property of a user's own: the tip of an object, and how sharp it is."""

    points = ('tip',)

    def __init__(self):
        super().__init__()
        self.branches.update(
            tip=Branch(2, dict(type='mmdet.L1Loss'), flip=flip_tips),
            sharpness=Branch(1, dict(type='mmdet.L1Loss'), flip=flip_map))

    def decode(self, outputs, peaks, detections):
        return dict(tip=(peaks.xy + peaks.read(outputs['tip'])) * peaks.stride,
                    sharpness=100 * peaks.read(outputs['sharpness'])[..., 0])


class MovedTip(Tip):
    """:class:`Tip` with an own way to the original image, which exported models do not know."""

    def to_image(self, detections, matrices):
        return dict(tip=detections['tip'] + matrices[:, None, :2, 2])


def write_composed_config(folder, data, extra=''):
    return tiny_project.write_config(folder, data, 'composed.py', CLASSES, extra=f"""
model['bbox_head'] = dict(
    type='mmdet_centernet.CenterHead', num_classes=3, in_channels=8, feat_channels=8,
    properties={PROPERTIES!r})
""" + extra)


def write_plus_config(folder, data):
    """Side distances, qualities that change the order, and NMS instead of the peaks' search."""
    return tiny_project.write_config(folder, data, 'plus.py', extra="""
model['bbox_head'] = dict(
    type='mmdet_centernet.CenterHead', num_classes=3, in_channels=8, feat_channels=8,
    num_convs=2, norm_cfg=dict(type='GN', num_groups=2),
    properties=[dict(type='mmdet_centernet.LTRB', init_distance=3.0),
                dict(type='mmdet_centernet.Quality')])
model['test_cfg'] = dict(max_per_img=20, topk=60, local_maximum_kernel=1,
                         nms=dict(type='nms', iou_threshold=0.6))
""")


def write_mono3d_plus_config(folder, data):
    return mono3d_project.write_config(folder, data, extra="""
model['bbox_head'].update(
    with_location_offset=True, coder=dict(peak='center_3d'), depth_uncertainty=True,
    depth_focal=150, orientation_bins=12, aux_corners=True)
test_dataloader['dataset']['pipeline'][1] = dict(
    type='mmdet_centernet.CenterResize', size=(192, 64), camera=(140, 90, 35))
""")


WRITERS = dict(
    detection=(tiny_project.write_data, tiny_project.write_config),
    pose=(pose_project.write_data, pose_project.write_config),
    mono3d=(mono3d_project.write_data, mono3d_project.write_config),
    mono3d_plus=(mono3d_project.write_data, write_mono3d_plus_config),
    composed=(tiny_project.write_data, write_composed_config),
    own=(tiny_project.write_data, tiny_project.write_config),
    plus=(tiny_project.write_data, write_plus_config))


class Project:
    """A config, its weights, the inferencer of both, and images with their cameras."""

    def __init__(self, task, folder, own=Tip):
        write_data, write_config = WRITERS[task]
        is_3d = task.startswith('mono3d')
        data = write_data(folder, 3)
        self.config = Config.fromfile(write_config(folder, data))
        self.meta = {}
        if task == 'own':
            self.config.model.bbox_head.properties = [dict(type=own)]
        elif task == 'composed':
            self.meta = dict(classes=CLASSES, attributes=ATTRIBUTES, num_keypoints=4,
                             skeletons=SKELETONS)
        self.weights = folder / 'weights.pth'
        torch.save(dict(state_dict=self.varied((64, 192 if is_3d else 96)),
                        meta=dict(dataset_meta=self.meta)), self.weights)
        self.folder = folder
        self.options = dict(cam2img=data / 'training/calib') if is_3d else {}
        photos = sorted(map(str, (
            data / 'training/image_2' if is_3d else data).glob('*.png')))
        # 3D boxes have their cameras by the files' names.
        self.images = photos if is_3d else [
            cv2.imread(path)[:height, :width] for path, (height, width) in zip(
                photos, [(64, 96), (50, 70), (60, 90)])]

    def varied(self, size):
        """Return weights of a random model whose outputs are far apart."""
        init_default_scope('mmdet')
        torch.manual_seed(0)
        model = MODELS.build(self.config.model).eval()
        model.bbox_head.use_dataset(self.meta)
        return spread_outputs(model, size).state_dict()

    def export(self, path, **options):
        return export(load_detector(self.config, self.weights), self.config, path,
                      say=lambda line: None, **options)

    def __call__(self, detector, **options):
        """Return what a detector detects in the images."""
        return detector(self.images, **self.options, **options)


@pytest.fixture(scope='module')
def projects(tmp_path_factory):
    return {task: Project(task, tmp_path_factory.mktemp(task)) for task in WRITERS}


def check_same(expected, found):
    """Check that the detections of each image are the same, as sets, best first."""
    total = 0
    for one, other in zip(expected['predictions'], found['predictions'], strict=True):
        assert one.keys() == other.keys() and len(one['scores']) == len(other['scores'])
        assert other['scores'] == sorted(other['scores'], reverse=True)
        named, other_named = (each.get('attributes') for each in (one, other))
        one, other = ({name: np.array(values) for name, values in each.items()
                       if name != 'attributes'} for each in (one, other))
        left = set(range(len(other['scores'])))
        for index, label in enumerate(one['labels']):
            same = [place for place in left if other['labels'][place] == label and all(
                np.abs(other[name][place] - one[name][index]).max()
                < (PIXELS if name in ('bboxes', 'keypoints', 'tip', 'sharpness') else OTHERS)
                for name in one if name != 'labels')]
            assert same, {name: values[index] for name, values in one.items()}
            left.remove(same[0])
            total += 1
            if named:
                check_same_attributes(named[index], other_named[same[0]])
    assert total >= 45


def check_same_attributes(one, other):
    """Check that the named attributes of two objects are the same."""
    assert one.keys() == other.keys() == ATTRIBUTES.keys()
    for name, values in one.items():
        for key, value in values.items():
            if name == 'age' or key == 'score':
                assert other[name][key] == pytest.approx(value, abs=OTHERS)
            else:
                assert other[name][key] == value


@pytest.mark.parametrize('task, exporting, testing', [
    ('detection', dict(kind='uint8', dynamic=True, batch=None), {}),
    ('detection', dict(kind='float', dynamic=True, batch=None), {}),
    ('pose', dict(kind='float', shape=(64, 64), batch=2, flip=True),
     dict(resolution='fix', tta='flip')),
    ('mono3d', dict(kind='uint8', shape=(64, 192)), {}),
    ('mono3d_plus', dict(kind='uint8', shape=(64, 192), flip=True), dict(tta='flip')),
    ('composed', dict(kind='uint8', shape=(64, 64), flip=True),
     dict(resolution='fix', tta='flip')),
    ('composed', dict(kind='float', dynamic=True, batch=None, flip=True), dict(tta='flip')),
    ('own', dict(kind='uint8', dynamic=True, batch=None, flip=True), dict(tta='flip')),
    ('own', dict(kind='float', shape=(64, 64), batch=2), dict(resolution='fix')),
    ('plus', dict(kind='uint8', dynamic=True, batch=None, flip=True), dict(tta='flip')),
    ('plus', dict(kind='float', shape=(64, 64)), dict(resolution='fix')),
], ids=str)
def test_exported_model_equals_inferencer(projects, task, exporting, testing):
    project = projects[task]
    path = project.folder / f'{exporting["kind"]}.onnx'
    project.export(path, **exporting)
    inferencer = CenterNetInferencer(project.config, project.weights, device='cpu', **testing)
    one_by_one = project(inferencer)
    for backend in ('onnxruntime', 'openvino'):
        detector = ExportedDetector(path, backend=backend, threads=1, tta=testing.get('tta'))
        check_same(one_by_one, project(detector))
        together = project(detector, batch_size=3)
        # Smaller images are padded like the inferencer does, or not at all.
        check_same(project(inferencer, batch_size=3) if exporting['kind'] == 'float'
                   else one_by_one, together)
    assert detector.dataset_meta == inferencer.model.dataset_meta
    drawn, expected = (project(each, return_vis=True)['visualization'][0]
                       for each in (detector, inferencer))
    assert drawn.shape == expected.shape and (drawn != expected).mean() < 0.01


def test_predictions_of_a_composed_head(projects, tmp_path):
    project = projects['composed']
    metadata = project.export(tmp_path / 'model.onnx', shape=(64, 96))
    assert metadata.attributes == ATTRIBUTES and metadata.points == ('bboxes', 'keypoints')
    assert metadata.properties[-2:] == (
        dict(type='Keypoints', points=['keypoints'], num_keypoints=4, classes=['person']),
        dict(type='Keypoints', points=['keypoints'], num_keypoints=2, classes=['apple']))
    detector = ExportedDetector(tmp_path / 'model.onnx')
    found, *_ = project(
        detector, out_dir=tmp_path, no_save_pred=False, no_save_vis=True)['predictions']
    assert json.loads((tmp_path / 'preds/0.json').read_text()) == found
    raw = detector.detect(project.images)[0]
    labels = raw['labels']
    assert set(labels) == {0, 1, 2}
    # Apples have two keypoints, stones have none.
    np.testing.assert_array_equal(
        raw['keypoint_scores'] > 0, np.arange(4) < np.array([4, 2, 0])[labels, None])
    assert raw['attribute_ripeness'].shape == (len(labels), 3)
    np.testing.assert_allclose(raw['attribute_ripeness'].sum(axis=1), 1, rtol=1e-5)
    for index, named in enumerate(found['attributes']):
        probabilities = raw['attribute_ripeness'][index]
        assert named['ripeness'] == dict(
            value=ATTRIBUTES['ripeness']['values'][probabilities.argmax()],
            score=pytest.approx(probabilities.max()))
        assert named['age'] == dict(value=pytest.approx(raw['attribute_age'][index]))
        marks = raw['attribute_marks'][index]
        assert named['marks']['value'] == [
            name for name, score in zip(ATTRIBUTES['marks']['values'], marks) if score > 0.5]
    sample, *_ = project(detector, return_datasamples=True)['predictions']
    assert sample.pred_instances.attribute_age.tolist() == found['attribute_age']


def test_predictions_of_an_own_property_are_in_original_pixels(projects, tmp_path):
    project = projects['own']
    metadata = project.export(tmp_path / 'model.onnx', shape=(64, 64))
    assert metadata.points == ('bboxes', 'tip') and metadata.outputs[-2:] == ('tip', 'sharpness')
    detector = ExportedDetector(tmp_path / 'model.onnx')
    image = project.images[0]
    # Twice the image gives the same input, with half the zoom.
    small, large = detector([image, cv2.resize(
        image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)])['predictions']
    homography = detector.prepare(image).homography
    tips = np.array(small['tip'])
    assert np.ptp(tips, axis=0).min() > 64 / 4 and homography[0, 0] < 1
    assert np.array(large['tip']).shape == tips.shape == (20, 2)


def test_export_of_a_property_with_an_own_way_to_the_image(tmp_path):
    project = Project('own', tmp_path, MovedTip)
    with pytest.raises(UserError, match='tip is mapped to the original image in a way that'):
        project.export(tmp_path / 'model.onnx', shape=(64, 64))
    assert not (tmp_path / 'model.onnx').exists()
