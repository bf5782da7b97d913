"""8-bit models: what is quantized, that they still detect, and what is reported."""
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
    find_fault,
    float_nodes,
    main_figures,
    neutral_camera,
    quantize_file,
)
from mmdet_centernet.io.inputs import images_of, read_image


def quiet(line):
    """Print nothing."""


@pytest.fixture(scope='module')
def lines():
    return []


@pytest.fixture(scope='module')
def onnx_file(model, config, photos, tmp_path_factory, lines):
    path = tmp_path_factory.mktemp('int8') / 'model.onnx'
    export(model, config, path, shape=(64, 96), int8=photos, evaluate=True, say=lines.append)
    return path


def quantized_convolutions(model):
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


def test_quantize_selects_convolutions(onnx_file):
    model = onnx.load(onnx_file)
    weights, small = quantized_convolutions(model)
    # The offsets of the deformable convolution stay in float.
    assert len(weights - small) == 1 and len(small) >= 13
    maker = {value: node for node in model.graph.node for value in node.output}
    reading = next(node for node in model.graph.node if node.op_type == 'GridSample')
    # The product that is read from is quantized, the result is not.
    above = maker[maker[reading.input[0]].input[0]]
    assert above.op_type == 'Conv' and above.name in small
    assert maker[reading.input[1]].op_type != 'DequantizeLinear'
    users = [node.op_type for node in model.graph.node if reading.output[0] in node.input]
    assert 'QuantizeLinear' not in users


def test_export_int8_detects_the_same(onnx_file, lines):
    detector = ExportedDetector(onnx_file)
    assert detector.metadata.precision == 'int8' and detector.metadata.shape == (64, 96)
    assert 'quantized with 10 images' in lines[1] and 'found again' in lines[1]
    assert any(line.startswith('coco/bbox_mAP:') and 'lost' in line for line in lines)
    assert sorted(file.name for file in onnx_file.parent.iterdir()) == ['model.onnx']


@pytest.fixture(scope='module')
def plain(model, config, tmp_path_factory):
    """A model of any size and of two normalised images, in float."""
    path = tmp_path_factory.mktemp('plain') / 'float32.onnx'
    export(model, config, path, dynamic=True, batch=2, kind='float', say=quiet)
    return path


def test_quantize_file_to_openvino_of_any_size(plain, photos, tmp_path):
    said = []
    path = tmp_path / 'model.xml'
    meta = quantize_file(plain, path, calibration_images(photos), said.append)
    assert 'found again' in said[0] and meta.precision == 'int8'
    images = [read_image(file) for file in images_of(photos)]
    detector = ExportedDetector(path)
    assert detector.metadata == meta
    wrong, seen = find_fault(ExportedDetector(plain).detect(images), detector.detect(images))
    assert wrong is None and 'found again' in seen
    assert len(detector([np.zeros((40, 50, 3), np.uint8)] * 3)['predictions']) == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ['model.bin', 'model.xml']


def test_quantize_file_that_detects_something_else(plain, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, 'quantize', lambda model, inputs: _blinded(model))
    with pytest.raises(UserError, match=r'only \d+ of \d+ .* found again: calibrate on images'):
        quantize_file(plain, tmp_path / 'model.onnx', calibration_images(photos))


def _blinded(model):
    """Return the model with an image that is all 0."""
    image = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ['dark' if value == image else value for value in node.input]
    model.graph.node.insert(0, helper.make_node('Sub', [image, image], ['dark'], name='dark'))
    return model


# Nodes that stay in float, in graphs by hand.

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


# Comparison.

def detections(boxes, scores, labels=None):
    return dict(bboxes=np.array(boxes, np.float32).reshape(-1, 4),
                scores=np.array(scores, np.float32),
                labels=np.zeros(len(scores), int) if labels is None else np.array(labels))


def test_find_fault_counts_what_is_found_again():
    expected = detections([[0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60]], [0.9, 0.8, 0.1])
    shifted = detections([[21, 20, 41, 40], [0, 1, 10, 11]], [0.7, 0.2])
    wrong, seen = find_fault([expected], [shifted])
    assert wrong is None and seen == '2 of 2 detections that score 0.3 were found again'
    # Half a box apart (IoU 1/3), of another class, or scored 0: all three differ.
    for other in (detections([[0, 5, 10, 15], [20, 20, 40, 40]], [0.9, 0.8]),
                  detections([[0, 0, 10, 10], [20, 20, 40, 40]], [0.9, 0.8], [1, 0]),
                  detections([[20, 20, 40, 40], [0, 0, 10, 10]], [0.9, 0.1])):
        assert find_fault([expected], [other])[0].startswith('only 1 of 2')
    assert find_fault([expected], [detections([], [])])[0].startswith('only 0 of 2')


def test_find_fault_without_confident_or_finite_detections():
    nothing = detections([[0, 0, 10, 10]], [0.1])
    wrong, seen = find_fault([nothing], [nothing])
    assert wrong is None and 'nothing to compare' in seen
    broken = dict(nothing, bboxes=nothing['bboxes'] * np.nan)
    assert 'not finite' in find_fault([nothing], [broken])[0]
    # Values that are not finite in float either are not a fault of quantization.
    assert find_fault([broken], [broken])[0] is None


def test_find_fault_without_boxes():
    found = dict(scores=np.array([0.9, 0.8]), labels=np.array([0, 1]))
    assert find_fault([found], [found])[0] is None
    assert find_fault([found], [dict(found, labels=np.array([0, 0]))])[0].startswith('only 1 of 2')


def test_main_figures():
    assert main_figures({'coco/bbox_mAP': 1, 'coco/bbox_mAP_50': 1, 'coco/AP': 1}) == [
        'coco/bbox_mAP', 'coco/AP']
    assert main_figures({'kitti/Car_easy_3d_AP40': 1, 'kitti/mean_moderate_3d_AP40': 1}) == [
        'kitti/mean_moderate_3d_AP40']
    assert main_figures({'mine/score': 1}) == ['mine/score']


def test_neutral_camera_looks_at_the_middle():
    camera = neutral_camera(np.zeros((40, 60, 3)))
    np.testing.assert_allclose(camera @ [0, 0, 5, 1] / 5, [30, 20, 1])


# Images.

def test_calibration_images_of_a_large_folder(tmp_path):
    for index in range(300):
        (tmp_path / f'{index:03}.png').touch()
    files = calibration_images(tmp_path)
    assert len(files) == 128 and files[0].endswith('000.png') and files[-1].endswith('299.png')
    assert files == sorted(set(files))


@pytest.mark.parametrize('options, words', [
    (dict(), 'has 2 image(s), but calibration needs at least 8'),
    (dict(int8='nowhere'), '--int8 nowhere is not a directory'),
    (dict(raw=True), '--raw does not decode any'),
    (dict(output='model.pt2'), '--int8 writes ONNX and OpenVINO models, not pt2'),
    (dict(int8=None, evaluate=True), '--evaluate compares a model before and after --int8'),
])
def test_export_int8_with_wrong_options(model, config, photos, tmp_path, options, words):
    few = tmp_path / 'few'
    few.mkdir()
    for file in images_of(photos)[:2]:
        shutil.copy(file, few)
    options = dict(dict(int8=few, output='model.onnx'), **options)
    output = tmp_path / options.pop('output')
    with pytest.raises(UserError) as error:
        export(model, config, output, say=quiet, **options)
    assert words in str(error.value) and not output.exists()


def test_export_int8_of_a_folder_without_images(model, config, tmp_path):
    with pytest.raises(UserError, match='holds no image'):
        export(model, config, tmp_path / 'model.onnx', int8=tmp_path, say=quiet)


def test_export_evaluate_without_data(model, config, photos, tmp_path):
    config = config.copy()
    config.test_evaluator = None
    with pytest.raises(UserError, match='the config has no test_evaluator'):
        export(model, config, tmp_path / 'model.onnx', int8=photos, evaluate=True, say=quiet)


def test_export_int8_without_nncf(model, config, photos, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, 'mmdet_centernet.export.quantize')
    monkeypatch.setitem(sys.modules, 'nncf', None)
    with pytest.raises(UserError, match='needs onnx, onnxruntime and nncf: pip install'):
        export(model, config, tmp_path / 'model.onnx', int8=photos, say=quiet)


def test_export_tool_takes_int8(config_file, weights, photos, tmp_path):
    tool = tiny_project.load_tool('deployment/export.py')
    args = tool.parse_args([str(config_file), str(weights), '--output', str(tmp_path / 'm.onnx'),
                            '--int8', str(photos), '--evaluate'])
    assert args.int8 == str(photos) and args.evaluate
