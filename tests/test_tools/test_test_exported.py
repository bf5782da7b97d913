"""tools/deployment/test_exported.py and what it calls, with models that find what was drawn."""
import json
import pickle
import re

import cv2
import mono3d_project
import numpy as np
import pose_project
import probe_model
import pytest
from mmengine.config import Config
from tiny_project import CLASSES, write_config, write_data

from mmdet_centernet.apis import ExportedDetector
from mmdet_centernet.errors import UserError
from mmdet_centernet.export import evaluate as module
from mmdet_centernet.export.evaluate import evaluate

TOOL = 'deployment/test_exported.py'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Seven images of two sizes with boxes where the model finds them; it is wrong in one."""
    folder = tmp_path_factory.mktemp('known')
    data = write_data(folder, 7)
    content = json.loads((data / 'train.json').read_text())
    content['annotations'] = []
    for image in content['images']:
        size = (63, 95) if image['id'] % 3 else (127, 31)
        image.update(height=size[0], width=size[1],
                     file_name=image['file_name'].replace('png', 'jpg'))
        cv2.imwrite(str(data / image['file_name']), np.full((*size, 3), 200, np.uint8))
        # The image is shifted by one pixel in the input.
        for label, box in zip(probe_model.LABELS[:2], probe_model.BOXES[:2] - 1):
            x, y = box[:2].tolist() if image['id'] else (100, 100)
            content['annotations'].append(dict(
                id=len(content['annotations']) + 1, image_id=image['id'], iscrowd=0, area=256,
                category_id=int(label) + 1, bbox=[x, y, *(box[2:] - box[:2]).tolist()]))
    (data / 'train.json').write_text(json.dumps(content))
    return data


@pytest.fixture(scope='module')
def config(data):
    return write_config(data, data)


@pytest.fixture(scope='module')
def model(data):
    return probe_model.write(data / 'model.onnx')


def last_error(capsys):
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    return error


def test_figures_predictions_and_runtimes(tool, config, model, tmp_path, capsys):
    figures = []
    for options in (['--out', tmp_path / 'out.pkl'], ['--backend', 'openvino', '--threads', 1],
                    ['--batch-size', 3, '--precision', 'float32', '--backend', 'openvino']):
        assert tool(TOOL, config, model, *options) == 0
        text = capsys.readouterr().out
        line = text.strip().splitlines()[-1]
        figures.append(dict(re.findall(r'(\S+): (\S+)', line)))
    assert figures[0] == figures[1] == figures[2]
    # Six of seven objects of each class are found before anything else is.
    assert 0.8 < float(figures[0]['coco/bbox_mAP_50']) < 6 / 7 + 0.01
    # As written by this very test: plain tensors in dictionaries.
    predictions = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert [each['img_id'] for each in predictions] == list(range(7))
    image = cv2.imread(predictions[3]['img_path'])
    expected, = ExportedDetector(model)(image)['predictions']
    assert predictions[3]['pred_instances']['bboxes'].tolist() == expected['bboxes']


def test_the_configs_pipeline_does_not_prepare_the_images(config, model):
    settings = Config.fromfile(config)
    expected = evaluate(settings, ExportedDetector(model))
    other = Config.fromfile(config)
    other.test_dataloader.dataset.pipeline[1] = dict(
        type='mmdet_centernet.CenterResize', size=(64, 64))
    for option in ('to_float32', 'defer'):
        other.test_dataloader.dataset.pipeline[0] = dict(
            {'type': 'mmdet_centernet.LoadImage', option: True})
        assert evaluate(other, ExportedDetector(model), 2) == expected
    # Data sets within others.
    other.test_dataloader.dataset = dict(
        type='RepeatDataset', times=1, dataset=settings.test_dataloader.dataset)
    assert evaluate(other, ExportedDetector(model)) == expected


def test_poses_and_3d_boxes(tmp_path):
    data = pose_project.write_data(tmp_path)
    config = Config.fromfile(pose_project.write_config(tmp_path, data, num_keypoints=4))
    pose = ExportedDetector(probe_model.write(tmp_path / 'pose.onnx', 'pose'))
    with pytest.raises(UserError, match='predicts 2 keypoints, but the data set .* has 4'):
        evaluate(config, pose)
    config.test_evaluator = dict(config.val_evaluator, type='mmdet.CocoMetric', metric='bbox')
    assert 'coco/bbox_mAP' in evaluate(config, pose)
    (tmp_path / 'space').mkdir()
    data = mono3d_project.write_data(tmp_path / 'space')
    space = Config.fromfile(mono3d_project.write_config(tmp_path, data))
    model = ExportedDetector(probe_model.write(
        tmp_path / 'space.onnx', 'mono3d', classes=['Pedestrian', 'Car', 'Cyclist'],
        palette=[[0, 0, 0]] * 3))
    figures = evaluate(space, model, 2)
    assert any(name.startswith('kitti/Car_moderate_3d') for name in figures)
    flat = Config.fromfile(write_config(tmp_path, write_data(
        tmp_path / 'flat', 1, classes=('a', 'b', 'c')), classes=('a', 'b', 'c')))
    with pytest.raises(UserError, match='predicts 3D boxes, but the test data have no camera'):
        evaluate(flat, model)


def test_progress_is_printed_at_intervals(config, model, monkeypatch, capsys):
    monkeypatch.setattr(module, '_PLAIN_SECONDS', 0)
    evaluate(Config.fromfile(config), ExportedDetector(model), 3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith('test, ')]
    assert [line.split(', ')[1] for line in lines] == ['batch 1/3', 'batch 2/3']
    assert all(re.search(r', \d+ s left$', line) for line in lines)


def test_models_that_cannot_be_tested_are_refused(tool, config, model, tmp_path, capsys):
    three = write_config(tmp_path, write_data(tmp_path, 1, classes=('a', 'b', 'c')), 'three.py',
                         classes=('a', 'b', 'c'))
    for arguments, words in (
            (('nowhere.py', model), 'config nowhere.py does not exist'),
            ((config, 'nowhere.onnx'), 'model nowhere.onnx does not exist'),
            ((config, model, '--out', 'x.json'), '*.pkl'),
            ((config, model, '--tta', 'flip'), '--flip'),
            ((config, model, '--batch-size', 0), 'batch_size=0'),
            ((config, model, '--device', 'tpu'), "device='tpu' is unknown"),
            ((config, model, '--precision', 'bfloat16'), 'is only for openvino'),
            ((three, model),
             f'has 3 classes, but model {model} predicts 2 ({", ".join(CLASSES)})'),
            ((config, model, '--cfg-options', 'test_evaluator=None'), 'has no test_evaluator'),
            ((config, model, '--cfg-options', 'test_dataloader=None'), 'has no test_dataloader'),
    ):
        assert tool(TOOL, *arguments) == 1
        assert words in last_error(capsys)
    settings = Config.fromfile(config)
    settings.test_dataloader.dataset.pipeline.pop(0)
    with pytest.raises(UserError, match='the test pipeline does not load images'):
        evaluate(settings, ExportedDetector(model))
