"""8-bit models: what is quantised, that they still detect, and what is said of them."""
import shutil
import sys

import numpy as np
import onnx
import pytest
import tiny_project
from onnx import helper

from mmdet_centernet.apis import ExportedDetector
from mmdet_centernet.errors import UserError
from mmdet_centernet.export import quantize
from mmdet_centernet.export.export import export
from mmdet_centernet.export.quantize import (
    calibration_images,
    fault,
    float_nodes,
    main_figures,
    neutral_camera,
    quantize_file,
)
from mmdet_centernet.io.inputs import images_of, read_image


def quiet(line):
    """In place of print."""


@pytest.fixture(scope='module')
def lines():
    return []


@pytest.fixture(scope='module')
def onnx_file(inferencer, photos, tmp_path_factory, lines):
    path = tmp_path_factory.mktemp('int8') / 'model.onnx'
    export(inferencer, path, shape=(64, 96), int8=photos, evaluate=True, say=lines.append)
    return path


def quantised_convolutions(model):
    """Names of the weights of convolutions, and which of them have 8 bits."""
    maker = {value: node for node in model.graph.node for value in node.output}
    constants = {value.name: value for value in model.graph.initializer}
    weights, small = set(), set()
    for node in model.graph.node:
        if node.op_type not in ('Conv', 'ConvTranspose'):
            continue
        weights.add(node.name)
        above = maker.get(node.input[1])
        if above is not None and above.op_type == 'DequantizeLinear':
            scale = constants[above.input[1]]
            assert constants[above.input[0]].data_type == onnx.TensorProto.INT8
            assert len(scale.dims) == 1 and scale.dims[0] > 1, 'one scale for each channel'
            small.add(node.name)
    return weights, small


def test_what_is_quantised(onnx_file):
    model = onnx.load(onnx_file)
    weights, small = quantised_convolutions(model)
    # The offsets of the deformable convolution stay in float.
    assert len(weights - small) == 1 and len(small) >= 13
    maker = {value: node for node in model.graph.node for value in node.output}
    reading = next(node for node in model.graph.node if node.op_type == 'GridSample')
    # The product that is read from is quantised, the result is not.
    above = maker[maker[reading.input[0]].input[0]]
    assert above.op_type == 'Conv' and above.name in small
    assert maker[reading.input[1]].op_type != 'DequantizeLinear'
    users = [node.op_type for node in model.graph.node if reading.output[0] in node.input]
    assert 'QuantizeLinear' not in users


def test_it_still_detects(onnx_file, lines):
    detector = ExportedDetector(onnx_file)
    assert detector.metadata['precision'] == 'int8' and detector.metadata['shape'] == [64, 96]
    assert 'quantised with 10 images' in lines[1] and 'found again' in lines[1]
    assert any(line.startswith('coco/bbox_mAP:') and 'lost' in line for line in lines)
    assert sorted(file.name for file in onnx_file.parent.iterdir()) == ['model.onnx']


@pytest.fixture(scope='module')
def plain(inferencer, tmp_path_factory):
    """A model of any size and of two normalised images, in float."""
    path = tmp_path_factory.mktemp('plain') / 'float32.onnx'
    export(inferencer, path, dynamic=True, batch=2, kind='float', say=quiet)
    return path


def test_openvino_model_of_any_size(plain, photos, tmp_path):
    said = []
    path = tmp_path / 'model.xml'
    meta = quantize_file(plain, path, calibration_images(photos), said.append)
    assert 'found again' in said[0] and meta['precision'] == 'int8'
    images = [read_image(file) for file in images_of(photos)]
    detector = ExportedDetector(path)
    assert detector.metadata == meta
    wrong, seen = fault(ExportedDetector(plain).detect(images), detector.detect(images))
    assert wrong is None and 'found again' in seen
    assert len(detector([np.zeros((40, 50, 3), np.uint8)] * 3)['predictions']) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ['model.bin', 'model.xml']


def test_a_model_that_finds_other_things(plain, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, 'quantize', lambda model, inputs: _blinded(model))
    with pytest.raises(UserError, match=r'only \d+ of \d+ .* found again: calibrate on images'):
        quantize_file(plain, tmp_path / 'model.onnx', calibration_images(photos))


def _blinded(model):
    """The model, but that its image is all 0."""
    image = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ['dark' if value == image else value for value in node.input]
    model.graph.node.insert(0, helper.make_node('Sub', [image, image], ['dark'], name='dark'))
    return model


# What stays in float: a graph by hand.

def _graph(nodes):
    return helper.make_graph(
        [helper.make_node(kind, ins.split(), outs.split(), name=outs.split()[0])
         for kind, ins, outs in nodes], 'graph',
        [helper.make_tensor_value_info('image', 1, None)],
        [helper.make_tensor_value_info('found', 1, None)])


def test_float_nodes_by_hand():
    graph = _graph([
        ('Sub', 'image mean', 'less'), ('Conv', 'less w', 'first'), ('Relu', 'first', 'kept'),
        ('Add', 'first kept', 'sum'), ('Conv', 'sum w', 'shifts'), ('Sigmoid', 'shifts', 'grid'),
        ('Conv', 'sum w', 'product'), ('GridSample', 'product grid', 'read'),
        ('Relu', 'read', 'after'), ('ConvTranspose', 'after w', 'up'), ('Relu', 'up', 'features'),
        ('Conv', 'features w', 'branch'), ('Relu', 'branch', 'hidden'),
        ('Conv', 'hidden w', 'heat'), ('TopK', 'heat k', 'found')])
    assert float_nodes(graph) == sorted(
        ['less', 'shifts', 'grid', 'read', 'after', 'found'])


def test_deform_conv_reads_positions_of_float():
    graph = _graph([
        ('Conv', 'image w', 'first'), ('Conv', 'first w', 'shifts'), ('Conv', 'first w', 'masks'),
        ('DeformConv', 'first weight shifts bias masks', 'read'), ('Conv', 'read w', 'middle'),
        ('Conv', 'middle w', 'heat'), ('TopK', 'heat k', 'found')])
    assert float_nodes(graph) == sorted(['shifts', 'masks', 'read', 'found'])


# What is compared.

def detections(boxes, scores, labels=None):
    return dict(bboxes=np.array(boxes, np.float32).reshape(-1, 4),
                scores=np.array(scores, np.float32),
                labels=np.zeros(len(scores), int) if labels is None else np.array(labels))


def test_found_again():
    expected = detections([[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]], [0.9, 0.8, 0.1])
    shifted = detections([[21, 20, 41, 40], [0, 1, 10, 11]], [0.7, 0.2])
    wrong, seen = fault([expected], [shifted])
    assert wrong is None and seen == '2 of 2 detections that score 0.3 were found again'
    # Half a box apart (IoU 1/3), another class, a score of nothing: all three are others.
    for other in (detections([[0, 5, 10, 15], [20, 20, 40, 40]], [0.9, 0.8]),
                  detections([[0, 0, 10, 10], [20, 20, 40, 40]], [0.9, 0.8], [1, 0]),
                  detections([[20, 20, 40, 40], [0, 0, 10, 10]], [0.9, 0.1])):
        assert fault([expected], [other])[0].startswith('only 1 of 2')
    assert fault([expected], [detections([], [])])[0].startswith('only 0 of 2')


def test_nothing_to_compare_by_and_no_numbers():
    nothing = detections([[0, 0, 10, 10]], [0.1])
    wrong, seen = fault([nothing], [nothing])
    assert wrong is None and 'nothing to compare' in seen
    broken = dict(nothing, bboxes=nothing['bboxes'] * np.nan)
    assert 'no numbers' in fault([nothing], [broken])[0]
    # What is no number in float either is no fault of the quantisation.
    assert fault([broken], [broken])[0] is None


def test_main_figures():
    assert main_figures({'coco/bbox_mAP': 1, 'coco/bbox_mAP_50': 1, 'coco/AP': 1}) == [
        'coco/bbox_mAP', 'coco/AP']
    assert main_figures({'kitti/Car_easy_3d_AP40': 1, 'kitti/mean_moderate_3d_AP40': 1}) == [
        'kitti/mean_moderate_3d_AP40']
    assert main_figures({'mine/score': 1}) == ['mine/score']


def test_neutral_camera_looks_at_the_middle():
    camera = neutral_camera(np.zeros((40, 60, 3)))
    np.testing.assert_allclose(camera @ [0, 0, 5, 1] / 5, [30, 20, 1])


# Which images.

def test_images_of_a_large_folder(tmp_path):
    for index in range(300):
        (tmp_path / f'{index:03}.png').touch()
    files = calibration_images(tmp_path)
    assert len(files) == 128 and files[0].endswith('000.png') and files[-1].endswith('299.png')
    assert files == sorted(set(files))


@pytest.mark.parametrize('options, words', [
    (dict(), 'holds 2 image(s), but calibration needs at least 8'),
    (dict(int8='nowhere'), '--int8 nowhere is no folder'),
    (dict(raw=True), '--raw detects nothing'),
    (dict(output='model.pt2'), '--int8 makes ONNX and OpenVINO models, not pt2'),
    (dict(int8=None, evaluate=True), '--evaluate compares a model before and after --int8'),
])
def test_one_sentence_and_no_file(inferencer, photos, tmp_path, options, words):
    few = tmp_path / 'few'
    few.mkdir()
    for file in images_of(photos)[:2]:
        shutil.copy(file, few)
    options = dict(dict(int8=few, output='model.onnx'), **options)
    output = tmp_path / options.pop('output')
    with pytest.raises(UserError) as error:
        export(inferencer, output, say=quiet, **options)
    assert words in str(error.value) and not output.exists()


def test_folder_without_images(inferencer, tmp_path):
    with pytest.raises(UserError, match='holds no image'):
        export(inferencer, tmp_path / 'model.onnx', int8=tmp_path, say=quiet)


def test_evaluate_without_data(inferencer, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(inferencer, 'cfg', inferencer.cfg.copy())
    inferencer.cfg.test_evaluator = None
    with pytest.raises(UserError, match='the config has no test_evaluator'):
        export(inferencer, tmp_path / 'model.onnx', int8=photos, evaluate=True, say=quiet)


def test_missing_nncf(inferencer, photos, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmdet_centernet.export.quantize')
    monkeypatch.setitem(sys.modules, 'nncf', None)
    with pytest.raises(UserError, match='needs onnx, onnxruntime and nncf: pip install'):
        export(inferencer, tmp_path / 'model.onnx', int8=photos, say=quiet)


def test_command_line(config, weights, photos, tmp_path):
    tool = tiny_project.load_tool('deployment/export.py')
    args = tool.parse_args([str(config), str(weights), '--output', str(tmp_path / 'm.onnx'),
                            '--int8', str(photos), '--evaluate'])
    assert args.int8 == str(photos) and args.evaluate
