"""Exported models: their inputs, their results, and the errors when they cannot run."""
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import openvino
import probe_model
import pytest
import torch
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mono3d_project import camera

from mmdet_centernet.apis import ExportedDetector
from mmdet_centernet.datasets.transforms import PackMono3DInputs
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import IMAGE_EXTENSIONS
from mmdet_centernet.models.dense_heads import (
    CenterNetHead,
    CenterNetMono3DHead,
    CenterNetPoseHead,
)
from mmdet_centernet.ops.boxes import nms
from mmdet_centernet.runtime import backends
from mmdet_centernet.runtime.detector import nms_by_config
from mmdet_centernet.runtime.metadata import FORMAT

TASKS = ('detection', 'pose', 'mono3d')
PAD = dict(type='CenterPad', pad_mask=31, pad_value=[0, 0, 0], scale=1.0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('exported')


@pytest.fixture(scope='module')
def model(folder):
    """A detection model of uint8 images, any size and batch."""
    return probe_model.write(folder / 'model.onnx')


@pytest.fixture(scope='module')
def detector(model):
    return ExportedDetector(model)


def probe(folder, task='detection', kind='uint8', options=None, **changes):
    """A detector of a probe model."""
    path = folder / f'probe{len(list(folder.iterdir()))}.onnx'
    return ExportedDetector(probe_model.write(path, task, kind, **changes), **(options or {}))


def picture(height=40, width=50, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Spy:
    """Runtime that keeps what it is fed with."""

    def __init__(self, detector):
        self.runtime, self.feeds = detector._runtime, []

    def __call__(self, feeds):
        self.feeds.append(feeds)
        return self.runtime(feeds)


@pytest.fixture
def spied(monkeypatch):
    """Return a function that keeps what a detector's model is fed with."""
    def spy(detector):
        watched = Spy(detector)
        monkeypatch.setattr(detector, '_runtime', watched)
        return watched.feeds
    return spy


# Without torch.

WITHOUT_TORCH = """
import importlib.metadata, sys
gone = ('torch', 'torchvision', 'mmcv', 'mmcv-lite', 'mmengine', 'mmdet', 'onnx')
for name in gone:
    sys.modules[name] = None  # importing it is importing what is not installed
def version(name, version=importlib.metadata.version):
    if name in gone:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = version
import numpy as np
import mmdet_centernet
from mmdet_centernet.apis import ExportedDetector
assert mmdet_centernet.__version__
folder, image = sys.argv[1], np.full((20, 40, 3), 51, np.uint8)
camera = [[100., 0, 20, 0], [0, 100, 10, 0], [0, 0, 1, 0]]
for task in ('detection', 'pose', 'mono3d'):
    for ending in ('onnx', 'xml'):
        detector = ExportedDetector(f'{folder}/{task}.{ending}', threads=1)
        cam2img = [camera, folder + '/calib.txt'] if task == 'mono3d' else None
        found, other = detector([image, folder + '/image.png'], cam2img=cam2img, batch_size=2,
                                out_dir=folder + '/out', no_save_vis=True,
                                no_save_pred=False)['predictions']
        assert found == other and len(found['scores']) == 3, found
for call in ('detector(image, return_vis=True)', 'detector(image, return_datasamples=True)',
             "detector(image, out_dir=folder + '/out')", "ExportedDetector(folder + '/x.pt2')"):
    try:
        eval(call, dict(globals(), detector=lambda *a, **k: detector(*a, cam2img=camera, **k)))
    except Exception as error:
        print(type(error).__name__, error)
for name in ('CenterNetInferencer', 'cli'):
    try:
        exec(f'from mmdet_centernet.apis import {name}')
    except ImportError as error:
        print(type(error).__name__, error)
"""


def test_detector_without_torch(folder):
    """Neither torch nor OpenMMLab is imported, also not by what is imported."""
    work = folder / 'without'
    work.mkdir()
    for task in TASKS:
        for ending in ('xml', 'onnx'):
            probe_model.write(work / f'{task}.{ending}', task)
    cv2.imwrite(str(work / 'image.png'), np.full((20, 40, 3), 51, np.uint8))
    (work / 'calib.txt').write_text('P2: 100 0 20 0 0 100 10 0 0 0 1 0')
    (work / 'x.pt2').write_bytes(b'')
    done = subprocess.run([sys.executable, '-c', WITHOUT_TORCH, str(work)],
                          capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads((work / 'out/preds/image.json').read_text())['labels'] == [1, 0, 1]
    lines = done.stdout.splitlines()
    wanted = ['UserError return_vis and drawn images in out_dir',
              'UserError return_datasamples need torch, which is not installed',
              'UserError return_vis and drawn images',
              'UserError the model needs torch, which is',
              'ImportError mmdet_centernet needs torch', 'ImportError mmdet_centernet needs torch']
    assert len(lines) == len(wanted), lines
    for line, words in zip(lines, wanted):
        assert line.startswith(words)


# Inputs.

@pytest.mark.parametrize('options', [
    dict(PAD), dict(PAD, pad_mask=127, pad_value=[1, 2, 3]), dict(PAD, scale=0.7),
    dict(PAD, scale=1.5),
    dict(type='CenterResize', size=[96, 64], fit='whole', pad_value=[7, 8, 9], scale=1.0),
    dict(type='CenterResize', size=[96, 64], fit='width', pad_value=[0, 0, 0], scale=0.5),
    dict(type='CenterResize', size=[96, 64], fit='whole', pad_value=[4, 5, 6], scale=1.0,
         camera=[70, 40, 30]),
    dict(type='Resize', size=[64, 96], backend='cv2', interpolation='bilinear'),
    dict(type='Resize', size=[64, 96], backend='cv2', interpolation='area'),
    dict(type='Resize', size=[64, 96], backend='pillow', interpolation='bicubic'),
], ids=lambda options: options['type'])
@pytest.mark.parametrize('size', [(41, 67), (120, 30)])
def test_prepare_equals_the_pipeline(folder, options, size):
    init_default_scope('mmdet')
    detector = probe(folder, 'mono3d', transform=options)
    image = picture(*size)
    settings = dict(options)
    kind = settings.pop('type')
    if kind == 'Resize':
        settings['scale'] = tuple(settings.pop('size'))
    elif kind == 'CenterResize':
        settings['size'] = tuple(settings['size'])
    scope = 'mmdet' if kind == 'Resize' else 'mmdet_centernet'
    expected = Compose([dict(settings, type=f'{scope}.{kind}'), PackMono3DInputs()])(dict(
        img=image.copy(), img_shape=image.shape[:2], ori_shape=image.shape[:2],
        cam2img=camera(), img_id=0, img_path='x'))
    found = detector.prepare(image, camera())
    wanted = expected['inputs'].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found.image[:wanted.shape[0], :wanted.shape[1]], wanted)
    # An input that is too small gets a wider border.
    assert found.image.shape == (*(max(side, 64) for side in wanted.shape[:2]), 3)
    for rest in (found.image[wanted.shape[0]:], found.image[:, wanted.shape[1]:]):
        assert (rest == options.get('pad_value', 0)).all()
    meta = expected['data_samples'].metainfo
    np.testing.assert_array_equal(found.homography, meta['homography_matrix'])
    np.testing.assert_allclose(found.cam2img, meta['cam2img'], rtol=1e-6)
    assert found.size == image.shape[1::-1]


@pytest.mark.parametrize('to_rgb', [True, False])
def test_float_inputs_equal_the_data_preprocessor(folder, spied, to_rgb):
    kind = dict(kind='float', mean=[10.5, 20, 30], std=[50.5, 60, 70], to_rgb=to_rgb)
    transform = dict(type='CenterPad', pad_mask=7, pad_value=[0, 0, 0], scale=1.0)
    detector = probe(folder, kind='float', input=kind, transform=transform, divisor=16)
    images = [picture(*size) for size in ((40, 20), (30, 70), (8, 8))]
    feeds = spied(detector)
    detector(images, batch_size=3)
    expected = DetDataPreprocessor(
        mean=kind['mean'], std=kind['std'], bgr_to_rgb=to_rgb, pad_size_divisor=16)(dict(
            inputs=[torch.from_numpy(detector_input).permute(2, 0, 1) for detector_input in (
                probe(folder, transform=transform, divisor=8).prepare(image).image
                for image in images)], data_samples=None))['inputs']
    assert len(feeds) == 1 and feeds[0]['image'].dtype == np.float32
    np.testing.assert_allclose(feeds[0]['image'], expected.numpy(), rtol=0, atol=1e-5)


def test_float_inputs_without_mean(folder, spied):
    kind = dict(kind='float', mean=None, std=None, to_rgb=False)
    detector = probe(folder, kind='float', input=kind)
    feeds = spied(detector)
    image = picture(63, 63)
    detector(image)
    np.testing.assert_array_equal(feeds[0]['image'][0, :, 1:, 1:], image.transpose(2, 0, 1))


def test_uint8_images_of_different_sizes_are_not_padded(folder, spied):
    detector = probe(folder)
    feeds = spied(detector)
    images = [picture(*size, seed=n) for n, size in enumerate(((50, 60), (70, 60), (51, 59)))]
    together = detector(images, batch_size=8)['predictions']
    assert [feed['image'].shape for feed in feeds] == [(2, 64, 64, 3), (1, 96, 64, 3)]
    assert together == [detector(image)['predictions'][0] for image in images]
    assert len({found['scores'][0] for found in together}) == 3


@pytest.mark.parametrize('batch_size, chunks', [(1, 3), (3, 2), (5, 2), (6, 1), (100, 1)])
def test_fixed_batch_is_filled_up(folder, spied, batch_size, chunks):
    detector = probe(folder, batch=3)
    images = [picture(50, 60, seed) for seed in range(4)] + [picture(70, 60)]
    one_by_one = probe(folder)(images)['predictions']
    feeds = spied(detector)
    found = detector(images, batch_size=batch_size)['predictions']
    assert all(feed['image'].shape[0] == 3 for feed in feeds)
    assert len(feeds) == 3  # two of the first size, one of the other, in any chunks
    for one, other in zip(one_by_one, found, strict=True):
        np.testing.assert_allclose(other['scores'], one['scores'], rtol=1e-6)
        assert other['bboxes'] == one['bboxes']


def test_cameras_reach_the_model(folder):
    detector = probe(folder, 'mono3d')
    images = [picture(32, 31), picture(30, 40)]
    found = detector(images, cam2img=[camera(0), camera(1)], batch_size=2)['predictions']
    for index, each in enumerate(found):
        moved = detector.prepare(images[index]).homography @ camera(index)
        np.testing.assert_allclose(each['bboxes_3d'][0][:4], moved[0], rtol=1e-5)
    files = {'a.png': images[0], 'b.png': images[1]}
    photos, calib = folder / 'photos', folder / 'calib'
    for place in (photos, calib):
        place.mkdir()
    for index, (name, image) in enumerate(files.items()):
        cv2.imwrite(str(photos / name), image)
        (calib / name.replace('png', 'txt')).write_text(
            'P2: ' + ' '.join(f'{value!r}' for value in map(float, camera(index).flat)) + '\n')
    assert detector(photos, cam2img=calib)['predictions'] == found
    assert detector([photos / 'b.png'], cam2img=calib / 'b.txt')['predictions'] == found[1:]
    assert detector.detect(images, [camera(0), camera(1)])[1]['depth'].tolist() == (
        found[1]['depth'])


@pytest.mark.parametrize('give', [
    lambda path: path, lambda path: Path(path), lambda path: [path], lambda path: (path, ),
    lambda path: cv2.imread(path), lambda path: [cv2.imread(path)],
    lambda path: np.asfortranarray(cv2.imread(path)),
    lambda path: cv2.imread(path)[..., ::-1].copy()[..., ::-1],
    lambda path: np.dstack([cv2.imread(path), np.full((40, 50), 7, np.uint8)]),
], ids=['str', 'Path', 'list', 'tuple', 'array', 'list of array', 'fortran', 'reversed',
        'alpha'])
def test_images_of_every_kind(detector, folder, give):
    path = str(folder / 'given.png')
    cv2.imwrite(path, picture())
    assert detector(give(path)) == detector(path)


def test_images_in_gray_and_in_folders(detector, folder):
    work = folder / 'several'
    work.mkdir()
    grey = picture()[..., 0]
    three = np.repeat(grey[..., None], 3, axis=2)
    assert detector(grey) == detector(three) == detector(grey[..., None])
    for name, image in (('b.PNG', picture()), ('a.jpg', picture(20, 20)), ('c.bmp', three)):
        cv2.imwrite(str(work / name), image)
    (work / 'notes.txt').write_text('no image')
    (work / 'folder.png').mkdir()
    found = detector(work)['predictions']
    assert found == [detector(work / name)['predictions'][0]
                     for name in ('a.jpg', 'b.PNG', 'c.bmp')]
    assert IMAGE_EXTENSIONS == IMG_EXTENSIONS


# Results.

HEADS = dict(detection=CenterNetHead, pose=CenterNetPoseHead, mono3d=CenterNetMono3DHead)
TEST_CFGS = [
    {}, dict(score_thr=0.5), dict(max_per_img=7), dict(clip_boxes=True),
    dict(nms=dict(type='nms', iou_threshold=0.4), max_per_img=20),
    dict(nms=dict(type='nms', iou_threshold=0.2, class_agnostic=True), score_thr=0.2)]


@pytest.mark.parametrize('task, cfg', [
    *((task, cfg) for task in TASKS for cfg in TEST_CFGS),
    ('mono3d', dict(shift_sizes=True)), ('mono3d', dict(shift_sizes=True, clip_boxes=True))],
    ids=str)
def test_finish_equals_the_head(folder, task, cfg):
    rng = np.random.default_rng(0)
    count = 60
    corner = rng.uniform(-20, 80, (count, 2))
    decoded = dict(
        bboxes=np.hstack((corner, corner + rng.uniform(-2, 60, (count, 2)))),
        scores=np.linspace(1, 0, count),
        labels=rng.integers(0, 2, count))
    if task == 'pose':
        decoded.update(keypoints=rng.uniform(-20, 90, (count, 2, 2)),
                       keypoint_scores=rng.uniform(0, 1, (count, 2)))
    elif task == 'mono3d':
        decoded.update(bboxes_3d=rng.normal(size=(count, 7)), alpha=rng.normal(size=count),
                       depth=rng.uniform(5, 50, count))
    decoded = {name: values if name == 'labels' else values.astype(np.float32)
               for name, values in decoded.items()}
    cfg = {**probe_model.metadata()['test_cfg'], **cfg}
    head = HEADS[task](num_classes=2, test_cfg=cfg, in_channels=8, feat_channels=8)
    detector = probe(
        folder, task, test_cfg=cfg, properties=[each.describe() for each in head.properties],
        transform=dict(
            type='CenterResize', size=[96, 64], fit='whole', pad_value=[0, 0, 0], scale=1.0))
    sample = detector.prepare(picture(120, 77), camera() if task == 'mono3d' else None)
    found = detector._finish(decoded, sample)
    tensors = {name: torch.from_numpy(values)[None] for name, values in decoded.items()}
    head.decode = lambda output, inputs: dict(tensors)
    expected, = head.predict_by_feat(
        [dict(heatmap=torch.zeros(1, 2, 4, 4))],
        [dict(homography_matrix=sample.homography, ori_shape=(120, 77), cam2img=camera())])
    assert set(found) == set(expected.keys()) and len(found['scores']) == len(expected)
    assert 0 < len(expected) <= cfg['max_per_img']
    for name, values in found.items():
        assert values.dtype == decoded[name].dtype
        np.testing.assert_allclose(values, expected[name].numpy(), rtol=1e-5, atol=1e-4)
    assert len(expected) < count  # the last one scores nothing


@pytest.mark.parametrize('agnostic', [False, True])
def test_nms_by_config_equals_torch(agnostic):
    rng = np.random.default_rng(1)
    for count in (0, 1, 2, 80):
        corner = rng.integers(0, 20, (count, 2))
        boxes = np.hstack((corner, corner + rng.integers(0, 15, (count, 2)))).astype(np.float32)
        scores = np.sort(rng.integers(0, 9, count) / 8).astype(np.float32)[::-1].copy()
        labels = rng.integers(0, 3, count)
        apart = boxes if agnostic else boxes + labels[:, None] * 1000
        kept = nms_by_config(boxes, scores, labels, dict(
            type='nms', iou_threshold=0.3, class_agnostic=agnostic))
        expected = nms(torch.from_numpy(apart.astype(np.float64)), torch.from_numpy(scores), 0.3)
        assert kept.tolist() == expected.tolist() and kept.dtype == np.int64


def test_nms_by_config_keeps_an_overlap_equal_to_the_threshold():
    boxes = np.array([[0, 0, 2, 1], [0, 0, 1, 1]], np.float32)
    for threshold, left in ((0.5, [0, 1]), (0.49, [0])):
        assert nms_by_config(boxes, np.ones(2), np.zeros(2), dict(
            type='nms', iou_threshold=threshold)).tolist() == left


def test_clip_boxes(folder):
    boxes = {wanted: np.array(probe(folder, test_cfg=dict(clip_boxes=configured), options=dict(
        clip_boxes=wanted))(picture(10, 12))['predictions'][0]['bboxes'])
        for wanted, configured in ((None, True), (False, True), (True, False))}
    assert boxes[False].min() < 0 and boxes[False].max() > 12
    for wanted in (None, True):
        np.testing.assert_array_equal(boxes[wanted], boxes[False].clip(0, (12, 10, 12, 10)))


def test_predictions_of_every_runtime(folder):
    image = picture()
    one = probe_model.write(folder / 'one.xml')
    expected = ExportedDetector(one.with_suffix('.onnx'))(image)['predictions'][0]
    for path, options in ((one, {}), (one, dict(backend='openvino', threads=1)),
                          (one.with_suffix('.onnx'), dict(backend='openvino')),
                          (str(one.with_suffix('.onnx')), dict(threads=2, device='cpu')),
                          (one, dict(precision='float32'))):
        found = ExportedDetector(path, **options)(image)['predictions'][0]
        np.testing.assert_allclose(found['scores'], expected['scores'], rtol=1e-6)
        assert found['bboxes'] == expected['bboxes'] and found['labels'] == expected['labels']


def test_threads_and_precision_reach_the_runtime(model):
    session = ExportedDetector(model, threads=3)._runtime._session
    assert session.get_session_options().intra_op_num_threads == 3
    compiled = ExportedDetector(model, 'openvino', threads=1)._runtime._model
    assert compiled.get_property('INFERENCE_NUM_THREADS') == 1
    assert compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name() == 'f32'
    if 'BF16' in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        compiled = ExportedDetector(model, 'openvino', precision='bfloat16')._runtime._model
        assert compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name() == 'bf16'


SIGNALS = """
import gc, signal, subprocess, sys
from mmdet_centernet.apis import ExportedDetector
signal.signal(signal.SIGCHLD, lambda *_: None)
first = ExportedDetector(sys.argv[1], backend='openvino')
second = ExportedDetector(sys.argv[1], backend='openvino')
del first
gc.collect()
del second
gc.collect()
subprocess.run(['true'])
print('alive')
"""


def test_signals_reach_a_process_that_used_openvino(model):
    """Also after its models are gone, in any order."""
    done = subprocess.run([sys.executable, '-c', SIGNALS, str(model)], capture_output=True,
                          text=True, cwd=Path(__file__).parents[2])
    assert done.stdout == 'alive\n', (done.returncode, done.stderr)


def test_torch_archive(folder):
    class Probe(torch.nn.Module):
        def forward(self, image):
            level = image.float().mean((1, 2, 3))[:, None] / 255
            none = level * 0
            return (none[..., None] + torch.from_numpy(probe_model.BOXES),
                    level * torch.from_numpy(probe_model.SCORES),
                    none.long() + torch.from_numpy(probe_model.LABELS))

    program = torch.export.export(Probe(), (torch.zeros(1, 64, 64, 3, dtype=torch.uint8), ))
    text = json.dumps(probe_model.metadata(batch=1, shape=[64, 64]))
    path = folder / 'archive.pt2'
    torch.export.save(program, str(path), extra_files={'mmdet_centernet.json': text})
    image = picture(60, 50)
    found = ExportedDetector(path)(image)['predictions'][0]
    expected = probe(folder)(image)['predictions'][0]
    assert found['bboxes'] == expected['bboxes'] and found['labels'] == expected['labels']
    np.testing.assert_allclose(found['scores'], expected['scores'], rtol=1e-6)


def test_data_samples_equal_dictionaries(folder):
    cv2.imwrite(str(folder / 'sample.png'), picture(40, 60))
    for task in TASKS:
        detector = probe(folder, task)
        options = dict(cam2img=camera()) if task == 'mono3d' else {}
        plain, = detector(folder / 'sample.png', **options)['predictions']
        result = detector(folder / 'sample.png', return_datasamples=True, **options)
        sample, = result['predictions']
        assert result['visualization'] == []
        assert sample.img_path == str(folder / 'sample.png') and sample.ori_shape == (40, 60)
        assert {name: values.tolist() for name, values in sample.pred_instances.items()} == plain
        assert sample.img_shape == (64, 64) and sample.homography_matrix.shape == (3, 3)
        assert ('cam2img' in sample) == (task == 'mono3d')


@pytest.mark.parametrize('task', TASKS)
def test_drawn_images_and_files(folder, task):
    detector = probe(folder, task)
    options = dict(cam2img=camera()) if task == 'mono3d' else {}
    image = np.full((64, 96, 3), 250, np.uint8)
    before = image.copy()
    cv2.imwrite(str(folder / 'white.png'), image)
    out = folder / f'out_{task}'
    result = detector([folder / 'white.png', image], out_dir=out, no_save_pred=False,
                      return_vis=True, **options)
    np.testing.assert_array_equal(image, before)
    one, other = result['visualization']
    np.testing.assert_array_equal(one, other)
    assert (one != 250).any()
    assert sorted(path.name for path in (out / 'preds').iterdir()) == ['1.json', 'white.json']
    assert sorted(path.name for path in (out / 'vis').iterdir()) == ['00000001.jpg', 'white.png']
    written = cv2.imread(str(out / 'vis/white.png'))
    np.testing.assert_array_equal(written[..., ::-1], one)
    assert json.loads((out / 'preds/1.json').read_text()) == result['predictions'][1]
    # Nothing scores so high; the next array has the next number.
    plain, = detector(image, out_dir=out, pred_score_thr=1.0, return_vis=True,
                      **options)['visualization']
    assert (out / 'vis/00000002.jpg').exists()
    if task != 'mono3d':
        np.testing.assert_array_equal(plain, image)
    # Results alone are counted as well.
    for _ in range(2):
        assert not detector(image, out_dir=out, no_save_vis=True, no_save_pred=False,
                            **options)['visualization']
    assert (out / 'preds/3.json').exists() and (out / 'preds/4.json').exists()


def test_kpt_thr_selects_drawn_keypoints(folder):
    detector = probe(folder, 'pose')
    image = np.full((63, 95, 3), 250, np.uint8)
    pictures = [detector(image, return_vis=True, kpt_thr=thr)['visualization'][0]
                for thr in (None, 0.1, None, 0.95)]
    assert (pictures[0] == pictures[2]).all()
    assert (pictures[0] != pictures[1]).any() and (pictures[0] != pictures[3]).any()


def test_printing_and_progress(model, detector, folder, capsys):
    detector(picture())
    assert capsys.readouterr().out == ''
    detector(picture(), print_result=True)
    assert "{'predictions': [{'bboxes':" in capsys.readouterr().out
    ExportedDetector(model, show_progress=True)([picture()] * 3)
    text = capsys.readouterr().out
    assert 'Inference' in text and '100%' in text


def test_dataset_meta(folder, detector):
    assert detector.dataset_meta == dict(
        classes=('square', 'disc'), palette=[(250, 10, 20), (0, 130, 240)])
    meta = probe(folder, 'pose').dataset_meta
    assert meta['keypoint_id2name'] == {0: 'top', 1: 'bottom'}
    assert meta['skeleton_links'] == [(0, 1)] and meta['classes'] == ('square', 'disc')


# Errors.

def says(words, call, *args, **options):
    with pytest.raises(UserError, match=words) as error:
        call(*args, **options)
    assert '\n' not in str(error.value)


def test_files_that_are_not_exported_models(folder, model):
    says(r'nowhere\.onnx does not exist', ExportedDetector, folder / 'nowhere.onnx')
    (folder / 'weights.pth').write_bytes(b'x')
    says(r'weights\.pth has the extension \.pth, but exported models are \*\.onnx, .*'
         r'tools/deployment/export\.py',
         ExportedDetector, folder / 'weights.pth')
    says(r'bare\.onnx does not say .* tools/deployment/export\.py', ExportedDetector,
         probe_model.write(folder / 'bare.onnx', text=''))
    says(r'bare\.xml does not say', ExportedDetector,
         probe_model.write(folder / 'bare.xml', text=''))
    for text in ('{', '[]', '{"a": 1}'):
        says('does not say', ExportedDetector, probe_model.write(folder / 'odd.onnx', text=text))
    newer = json.dumps(probe_model.metadata(format=FORMAT + 1, version='9.1'))
    says(r'newer\.onnx was exported by version 9\.1', ExportedDetector,
         probe_model.write(folder / 'newer.onnx', text=newer))
    says('was exported with --raw, so it outputs heatmaps', probe, folder, raw=True)
    (folder / 'cut.onnx').write_bytes(model.read_bytes()[:200])
    says(r'ONNX Runtime [\d.]+ cannot load .*cut\.onnx: ', ExportedDetector, folder / 'cut.onnx')
    says(r'OpenVINO [\d.]+ cannot load .*cut\.onnx: ', ExportedDetector, folder / 'cut.onnx',
         backend='openvino')
    (folder / 'text.xml').write_text('<html>')
    (folder / 'text.bin').write_bytes(b'')
    says(r'OpenVINO [\d.]+ cannot load .*text\.xml: ', ExportedDetector, folder / 'text.xml')
    (folder / 'cut.pt2').write_bytes(b'PK')
    says(r'cut\.pt2 is not an archive of torch\.export', ExportedDetector, folder / 'cut.pt2')
    lone = probe_model.write(folder / 'lone.xml')
    lone.with_suffix('.bin').unlink()
    says(r'its weights in .*lone\.bin, which does not exist', ExportedDetector, lone)


@pytest.mark.parametrize('options, words', [
    (dict(backend='tensorrt'), "backend='tensorrt' is unknown: give one of onnxruntime, openv"),
    (dict(backend='torch'), r"backend='torch' reads \.pt2, not .*model\.onnx"),
    (dict(threads=0), 'threads=0 must be a whole number of at least 1'),
    (dict(threads=1.5), r'threads=1\.5 must be'),
    (dict(device='gpu'), "device='gpu' is unknown: give 'cpu', 'cuda' or 'cuda:1'"),
    (dict(device='cuda:1'), r"ONNX Runtime [\d.]+ only has .*CPUExecutionProvider here: use 'cp"),
    (dict(device='cuda', backend='openvino'), "not one of OpenVINO's: give 'cpu' or 'gpu'"),
    (dict(device='gpu', backend='openvino'), 'but OpenVINO only finds CPU'),
    (dict(precision='float32'), 'is only for openvino, but onnxruntime computes in'),
    (dict(precision='int8', backend='openvino'), "'int8' is not one of float32, bfloat16"),
    (dict(tta='ms'), "tta='ms' is not available in exported models"),
    (dict(tta='flip'), r'does not look at flipped images: export it with .*export\.py --flip'),
], ids=str)
def test_wrong_options(model, options, words):
    says(words, ExportedDetector, model, **options)


def test_tta_flip_of_a_flipping_model(folder):
    assert probe(folder, flip=True, options=dict(tta='flip'))(picture())['predictions']


def test_missing_and_old_runtimes(folder, model, monkeypatch):
    with monkeypatch.context() as patch:
        for name in ('onnxruntime', 'openvino'):
            patch.setitem(sys.modules, name, None)
            says(f'needs {name}, which is not installed: pip install {name}', ExportedDetector,
                 model, backend=name)

    class Session:
        def __init__(self, *args, **options):
            raise RuntimeError('[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an '
                               'implementation for DeformConv(19) node with name')

    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, 'InferenceSession', Session)
        says('NOT_IMPLEMENTED : Could not find', ExportedDetector, model)
        patch.setattr(onnxruntime, '__version__', '1.24.3')
        says(r'DeformConv, which needs ONNX Runtime 1\.25, but 1\.24\.3 is installed',
             ExportedDetector, model)
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, 'get_available_providers',
                      lambda: ['CUDAExecutionProvider', 'CPUExecutionProvider'])
        says(r"device='cuda:2', but ONNX Runtime cannot start CUDAExecutionProvider|cannot load",
             ExportedDetector, model, device='cuda:2')

    class Core(openvino.Core):
        def get_property(self, *args):
            return ['FP32']

    # The process keeps its own core.
    monkeypatch.setattr(backends, '_core', Core)
    says("precision='bfloat16', but this CPU does not support it", ExportedDetector, model,
         backend='openvino', precision='bfloat16')


def test_broken_installation_is_reported(monkeypatch, model):
    def fail(name):
        raise ImportError('libonnxruntime.so: cannot open shared object file')

    monkeypatch.setattr(backends.importlib, 'import_module', fail)
    says(r'cannot be imported \(libonnxruntime\.so', ExportedDetector, model)


@pytest.mark.parametrize('inputs, words', [
    ([], 'inputs is an empty list'),
    ('nowhere/photo.jpg', 'image nowhere/photo.jpg does not exist'),
    (None, 'inputs is None'),
    (torch.zeros(4, 4, 3), 'inputs is a Tensor'),
    ([np.zeros((4, 4, 3), np.uint8), 3], 'inputs[1] is a int'),
    (np.zeros((4, 4, 3)), 'inputs is an array of float64: give uint8'),
    (np.zeros((3, 40, 50), np.uint8), 'an array of shape (3, 40, 50)'),
    (np.zeros((0, 4, 3), np.uint8), 'an array of shape (0, 4, 3)'),
    ([str(Path(__file__).parent)], 'inputs[0] is the folder'),
    (str(Path(__file__).parent), 'holds no image'),
    ('s3://bucket/a.png', 'is neither a file nor an http(s) address'),
    ('http://127.0.0.1:9/a.png', 'image http://127.0.0.1:9/a.png cannot be read: '),
])
def test_wrong_inputs(detector, tmp_path, monkeypatch, inputs, words):
    monkeypatch.setenv('no_proxy', '*')
    says(re.escape(words), detector, inputs, out_dir=tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('options, words', [
    (dict(batch_size=0), 'batch_size=0 must be a whole number of at least 1'),
    (dict(batch_size=2.5), 'batch_size=2.5'),
    (dict(cam2img=camera()), 'predicts none: leave it out'),
    (dict(kpt_thr=0.3), 'kpt_thr is for keypoints, but model .* predicts none'),
    (dict(out_dir=__file__), r'\.py is a file: name a folder'),
])
def test_wrong_calls(detector, options, words):
    says(words, detector, picture(), **options)


@pytest.mark.parametrize('cam2img, words', [
    (None, 'predicts 3D boxes, which requires the camera matrix: give cam2img'),
    (np.eye(4), r'cam2img has the shape \(4, 4\)'),
    ([camera()] * 3, r'a list of 3 for 2 input\(s\)'),
    ([camera(), 2 * camera()], r'cam2img\[1\] has 0 at \[1, 0\]'),
    (camera() * [[-1], [1], [1]], 'both must be positive'),
    (camera() * [[1, 1, np.nan, 1]], 'not finite numbers'),
    (dict(P2=1), 'is a dict that holds no matrix'),
    (str(Path(__file__).parent), r'inputs\[0\] is an array, which has no file name'),
    ('none.txt', r'none\.txt does not exist'),
], ids=str)
def test_wrong_cameras(folder, cam2img, words):
    says(words, probe(folder, 'mono3d'), [picture()] * 2, cam2img=cam2img)


def test_images_of_wrong_size(folder):
    fixed = probe(folder, shape=[64, 64])
    assert fixed(picture(60, 40))['predictions']
    says(r'inputs\[1\] becomes an input of 96 x 64 px, but .* takes 64 x 64 px: .*--dynamic',
         fixed, [picture(), picture(40, 70)])
    uneven = dict(type='Resize', size=[70, 64], backend='cv2', interpolation='bilinear')
    says('takes multiples of 32 px', probe(folder, transform=uneven), picture())
    says(r'inputs is|inputs\[0\] is 1 x 1 px, of which the test scale 0\.5 leaves nothing',
         probe(folder, transform=dict(PAD, scale=0.5)), picture(1, 1))
    few = probe(folder, batch=2)
    few.metadata = replace(few.metadata, batch=3)  # not the file's
    says(r'cannot run on 3 input\(s\) of 64 x 64 px: .* index: 0 Got: 3 Expected: 2', few,
         picture())
    says("nms of type 'soft_nms' is not available in exported models", probe(
        folder, test_cfg=dict(nms=dict(type='soft_nms'))), picture())


def test_broken_image_among_others(detector, folder):
    work = folder / 'broken'
    work.mkdir()
    for name in 'abc':
        cv2.imwrite(str(work / f'{name}.jpg'), picture())
    data = (work / 'c.jpg').read_bytes()
    (work / 'c.jpg').write_bytes(data[:len(data) // 2])
    says(r'c\.jpg is truncated', detector, work, out_dir=work / 'out', no_save_vis=True,
         no_save_pred=False)
    assert sorted(path.name for path in (work / 'out/preds').iterdir()) == ['a.json', 'b.json']
    (work / 'other').mkdir()
    (work / 'other/a.jpg').write_bytes((work / 'a.jpg').read_bytes())
    says('would be written to the same file', detector, [work / 'a.jpg', work / 'other/a.jpg'],
         out_dir=work / 'out')
