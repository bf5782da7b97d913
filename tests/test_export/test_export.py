"""Exported files: their contents, that they are tried, and what is reported."""
import itertools
import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_project
import torch

from mmdet_centernet.apis import ExportedDetector
from mmdet_centernet.errors import UserError
from mmdet_centernet.export import export as module
from mmdet_centernet.export.export import export
from mmdet_centernet.export.graph import DetectionGraph
from mmdet_centernet.export.verify import compare_detections
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.runtime.backends import open_model
from mmdet_centernet.runtime.metadata import KEY, parse

STANDARD = {'', 'ai.onnx'}


def quiet(line):
    """Print nothing."""


def detections(graph, image):
    with torch.inference_mode():
        outputs = graph(torch.from_numpy(image))
    return dict(zip(graph.output_names, (value.numpy() for value in outputs)))


def noise(*shape, seed=0):
    """Smooth images of uint8 [B, H, W, 3]."""
    rng = np.random.default_rng(seed)
    batch, height, width = shape
    small = rng.integers(0, 256, (batch, height // 8, width // 8, 3), dtype=np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def same(path, graph, image, backend=None, **options):
    """Return whether a file detects in images what the detector detects."""
    runtime = open_model(path, backend, threads=1, **options)
    expected = detections(graph, image)
    found = dict(zip(graph.output_names, runtime(dict(image=image))))
    _, missing, total = compare_detections(expected, found)
    assert total > 10 * len(image)
    return not missing


@pytest.fixture(scope='module')
def graph(model):
    return DetectionGraph(model).eval()


@pytest.fixture(scope='module')
def fixed(model, config, tmp_path_factory):
    path = tmp_path_factory.mktemp('fixed') / 'model.onnx'
    export(model, config, path, shape=(64, 96), say=quiet)
    return path


@pytest.mark.parametrize('dcn', ['grid_sample', 'deform_conv'])
def test_export_of_any_size_and_batch(model, config, graph, tmp_path, dcn):
    path = tmp_path / 'model.onnx'
    lines = []
    export(model, config, path, dynamic=True, batch=None, dcn=dcn, say=lines.append)
    for backend, shape in itertools.product(
            ('onnxruntime', 'openvino'), [(1, 64, 64), (2, 96, 160), (3, 224, 64)]):
        assert same(path, graph, noise(*shape), backend)
    written = onnx.load(path)
    operators = {node.op_type for node in written.graph.node}
    assert ('DeformConv' in operators) == (dcn == 'deform_conv')
    assert ('GridSample' in operators) == (dcn == 'grid_sample')
    assert {node.domain for node in written.graph.node} <= STANDARD and not written.functions
    # Both sizes that were tried are reported, with the differences of the detections.
    assert len(lines) == 3 and all('detections the same' in line for line in lines[:2])
    with pytest.raises(Exception, match='Reshape|reshape'):
        onnxruntime.InferenceSession(str(path)).run(None, dict(image=noise(1, 72, 64)))


@pytest.mark.parametrize('name, options', [
    ('model.xml', dict(shape=(64, 96))), ('model.pt2', dict(shape=(64, 96))),
    ('any.pt2', dict(dynamic=True, batch=None)),
    ('old.onnx', dict(opset=18, shape=(64, 96))),
    ('new.onnx', dict(opset=23, shape=(64, 96)))])
def test_export_formats(model, config, graph, tmp_path, name, options):
    meta = export(model, config, tmp_path / name, say=quiet, **options)
    shape = (2, 96, 128) if options.get('dynamic') else (1, 64, 96)
    assert same(tmp_path / name, graph, noise(*shape))
    assert parse(open_model(tmp_path / name).metadata, name) == meta
    assert meta.opset == (None if name.endswith('pt2') else options.get('opset', 20))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {name, name.replace('.xml', '.bin')})


def test_export_flip_averages_with_the_flipped_image(model, config, tmp_path):
    path = tmp_path / 'model.onnx'
    export(model, config, path, shape=(64, 96), flip=True, say=quiet)
    assert same(path, DetectionGraph(model, flip=True).eval(), noise(1, 64, 96))
    assert not same(path, DetectionGraph(model).eval(), noise(1, 64, 96))


def test_export_raw_outputs_branches(model, config, tmp_path):
    path = tmp_path / 'model.onnx'
    meta = export(model, config, path, shape=(64, 96), raw=True, kind='float', say=quiet)
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = model(image, mode='tensor')[0][-1]
    session = onnxruntime.InferenceSession(str(path))
    assert [output.name for output in session.get_outputs()] == [
        *meta.outputs] == list(expected)
    for found, values in zip(session.run(None, dict(image=image.numpy())), expected.values()):
        np.testing.assert_allclose(found, values.numpy(), rtol=1e-3, atol=1e-3)
    with pytest.raises(UserError, match='--raw'):
        ExportedDetector(path)


def test_export_writes_metadata(fixed):
    session = onnxruntime.InferenceSession(str(fixed))
    meta = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    image, = session.get_inputs()
    assert (image.name, image.shape, image.type) == ('image', [1, 64, 96, 3], 'tensor(uint8)')
    assert [output.name for output in session.get_outputs()] == meta['outputs'] == [
        'bboxes', 'scores', 'labels']
    assert [output.shape for output in session.get_outputs()] == [[1, 20, 4], [1, 20], [1, 20]]
    assert meta['classes'] == list(tiny_project.CLASSES) and len(meta['palette']) == 2
    assert (meta['task'], meta['config'], meta['stride'], meta['divisor']) == (
        'detection', 'tiny', 4, 32)
    assert (meta['inputs'], meta['properties'], meta['dataset']) == (
        ['image'], [dict(type='Box')], {})
    assert (meta['shape'], meta['batch'], meta['dcn'], meta['opset'], meta['precision']) == (
        [64, 96], 1, 'grid_sample', 20, 'float32')
    assert meta['transform'] == dict(
        type='CenterResize', fit='whole', size=[96, 64], pad_value=[0, 0, 0], scale=1.0)
    assert meta['test_cfg'] == dict(
        max_per_img=20, score_thr=0.0, clip_boxes=False, nms=None)
    assert meta['input'] == dict(kind='uint8', mean=[0, 0, 0], std=[255, 255, 255], to_rgb=False)
    # Neither paths of this machine nor lines of code.
    assert b'.py' not in fixed.read_bytes()


def test_export_does_not_change_the_model(model, config, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export(model, config, tmp_path / 'model.onnx', shape=(64, 64), say=quiet)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize('fault', ['scores', 'boxes', 'labels', 'not finite'])
def test_export_does_not_write_a_wrong_graph(model, config, tmp_path, monkeypatch, fault):
    """The traced graph decodes otherwise than the detector."""
    path = tmp_path / 'model.onnx'
    path.write_text('what was there')
    decode = CenterHead.decode

    def wrong(head, output, inputs=None):
        if not torch.compiler.is_exporting():
            return decode(head, output, inputs)
        heatmap, wh = output['heatmap'], output['wh']
        if fault == 'not finite':
            wh = (wh - 1e9).log()
        found = decode(head, dict(
            output, heatmap=heatmap + 0.1 if fault == 'scores' else heatmap,
            wh=wh + 0.1 if fault == 'boxes' else wh), inputs)
        return dict(found, labels=1 - found['labels']) if fault == 'labels' else found

    monkeypatch.setattr(CenterHead, 'decode', wrong)
    with pytest.raises(UserError, match='model.onnx was not written, because in onnxruntime it'):
        export(model, config, path, shape=(64, 96), say=quiet)
    assert path.read_text() == 'what was there' and len(list(tmp_path.iterdir())) == 1


def test_export_that_fails_leaves_nothing(model, config, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError('the exporter stumbles')

    monkeypatch.setattr(module, 'trace', fail)
    with pytest.raises(RuntimeError, match='stumbles'):
        export(model, config, tmp_path / 'new' / 'model.onnx', shape=(64, 96), say=quiet)
    assert list((tmp_path / 'new').iterdir()) == []


def test_export_without_its_packages(model, config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmdet_centernet.export.onnx', None)
    with pytest.raises(UserError, match='needs onnx and onnxscript: pip install'):
        export(model, config, tmp_path / 'model.onnx', shape=(64, 96), say=quiet)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('missing', [['classes', 'palette'], ['palette']])
def test_export_without_dataset_meta(model, config, tmp_path, monkeypatch, missing):
    meta = {key: value for key, value in model.dataset_meta.items() if key not in missing}
    monkeypatch.setattr(model, 'dataset_meta', meta)
    with pytest.raises(UserError, match='no dataset_meta with classes and palette: load it with'):
        export(model, config, tmp_path / 'model.onnx', shape=(64, 96), say=quiet)
