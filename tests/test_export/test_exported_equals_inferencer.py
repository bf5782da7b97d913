"""Real small models, exported: what they detect is what the inferencer detects."""
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
from mmdet_centernet.export.export import export
from mmdet_centernet.registry import MODELS

PIXELS, OTHERS = 0.05, 1e-3
PROJECTS = dict(detection=tiny_project, pose=pose_project, mono3d=mono3d_project)


def varied(config, size):
    """Weights of a random model whose outputs are far apart."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return spread_outputs(MODELS.build(config.model).eval(), size).state_dict()


class Project:
    """A config, its weights, the inferencer of both, and images with their cameras."""

    def __init__(self, task, folder):
        self.task, module = task, PROJECTS[task]
        data = module.write_data(folder, 3)
        self.config = module.write_config(folder, data)
        self.weights = folder / 'weights.pth'
        torch.save(dict(state_dict=varied(
            Config.fromfile(self.config), (64, 192 if task == 'mono3d' else 96))), self.weights)
        self.folder = folder
        self.options = dict(cam2img=data / 'training/calib') if task == 'mono3d' else {}
        photos = sorted(map(str, (
            data / 'training/image_2' if task == 'mono3d' else data).glob('*.png')))
        # Boxes in space have their cameras by the files' names.
        self.images = photos if task == 'mono3d' else [
            cv2.imread(path)[:height, :width] for path, (height, width) in zip(
                photos, [(64, 96), (50, 70), (60, 90)])]

    def inferencer(self, **options):
        return CenterNetInferencer(self.config, self.weights, device='cpu', **options)

    def __call__(self, detector, **options):
        """What is detected in the images."""
        return detector(self.images, **self.options, **options)


@pytest.fixture(scope='module')
def projects(tmp_path_factory):
    return {task: Project(task, tmp_path_factory.mktemp(task)) for task in PROJECTS}


def check_same(expected, found):
    """The same detections of each image, as sets, best first."""
    total = 0
    for one, other in zip(expected['predictions'], found['predictions'], strict=True):
        assert one.keys() == other.keys() and len(one['scores']) == len(other['scores'])
        assert other['scores'] == sorted(other['scores'], reverse=True)
        one, other = ({name: np.array(values) for name, values in each.items()}
                      for each in (one, other))
        left = set(range(len(other['scores'])))
        for index, label in enumerate(one['labels']):
            same = [place for place in left if other['labels'][place] == label and all(
                np.abs(other[name][place] - one[name][index]).max()
                < (PIXELS if name in ('bboxes', 'keypoints') else OTHERS)
                for name in one if name != 'labels')]
            assert same, {name: values[index] for name, values in one.items()}
            left.remove(same[0])
            total += 1
    assert total >= 45


@pytest.mark.parametrize('task, exporting, testing', [
    ('detection', dict(kind='uint8', dynamic=True, batch=None), {}),
    ('detection', dict(kind='float', dynamic=True, batch=None), {}),
    ('pose', dict(kind='float', shape=(64, 64), batch=2, flip=True),
     dict(resolution='fix', tta='flip')),
    ('mono3d', dict(kind='uint8', shape=(64, 192)), {}),
], ids=str)
def test_in_both_runtimes(projects, task, exporting, testing):
    project = projects[task]
    path = project.folder / f'{exporting["kind"]}.onnx'
    export(project.inferencer(), path, say=lambda line: None, **exporting)
    inferencer = project.inferencer(**testing)
    one_by_one = project(inferencer)
    for backend in ('onnxruntime', 'openvino'):
        detector = ExportedDetector(path, backend=backend, threads=1, tta=testing.get('tta'))
        check_same(one_by_one, project(detector))
        together = project(detector, batch_size=3)
        # Smaller images are padded as the inferencer does it, or not at all.
        check_same(project(inferencer, batch_size=3) if exporting['kind'] == 'float'
                   else one_by_one, together)
    assert detector.dataset_meta == inferencer.model.dataset_meta
    drawn, expected = (project(each, return_vis=True)['visualization'][0]
                       for each in (detector, inferencer))
    assert drawn.shape == expected.shape and (drawn != expected).mean() < 0.01
