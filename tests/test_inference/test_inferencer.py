"""The inferencer against the testing path, and the errors for wrong inputs."""
import importlib.util
import json
import re
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import mono3d_project
import numpy as np
import pose_project
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner

import mmdet_centernet.apis
from mmdet_centernet.apis import CenterNetInferencer
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
FIELDS = ('bboxes', 'scores', 'labels')
OPTIONS = [dict(), dict(resolution='fix'), dict(tta='flip'), dict(tta='ms'),
           dict(resolution='fix', tta='ms')]


@pytest.fixture(scope='module')
def inferencer(config, weights):
    return CenterNetInferencer(config, weights, device='cpu')


def instances(inferencer, inputs, **options):
    """``pred_instances`` of each input."""
    found = inferencer(inputs, return_datasamples=True, **options)['predictions']
    return [sample.pred_instances for sample in found]


def same(one, other, exact=True):
    for field in FIELDS:
        torch.testing.assert_close(
            one[field], other[field], **(dict(rtol=0, atol=0) if exact else {}))
    return True


def image_files(photos):
    return sorted(map(str, photos.glob('*.png')))


def saved(content, folder, name='saved.pth'):
    torch.save(content, folder / name)
    return folder / name


# Predictions.

@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_equals_testing(config, weights, state, photos, options):
    found = instances(CenterNetInferencer(config, weights, **options), str(photos), batch_size=4)
    settings = Config.fromfile(config)
    apply_test_options(settings, options.get('resolution'), options.get('tta'))
    model = MODELS.build(settings.model)
    getattr(model, 'module', model).load_state_dict(state)
    dataset = Runner.build_dataloader(settings.test_dataloader).dataset
    assert len(found) == len(dataset) == 6
    model.eval()
    assert {0, 1} == {int(label) for pred in found for label in pred.labels}
    for index, pred in enumerate(found):
        with torch.no_grad():
            expected, = model.test_step(pseudo_collate([dataset[index]]))
        same(pred, expected.pred_instances, exact=False)
        assert len(pred) == 20 and (pred.scores[:-1] >= pred.scores[1:]).all()
        sizes = pred.bboxes[:, 2:] - pred.bboxes[:, :2]
        assert (sizes[:, 0] > sizes[:, 1]).all()


def test_predictions_of_a_file(inferencer, photos):
    result = inferencer(str(photos / 'img_0.png'), return_datasamples=True)
    sample, = result['predictions']
    assert sample.img_path == str(photos / 'img_0.png') and sample.ori_shape == (64, 96)
    assert sample.pred_instances.bboxes.shape == (20, 4)
    assert result['visualization'] == []
    plain, = inferencer(str(photos / 'img_0.png'))['predictions']
    assert json.loads(json.dumps(plain)) == {
        field: sample.pred_instances[field].tolist() for field in FIELDS}


def test_boxes_are_in_original_pixels(inferencer, photos):
    """An image moved by a whole input step: the same detections, moved as much."""
    image = cv2.imread(str(photos / 'img_0.png'))
    canvas = np.zeros((64 + 64, 96 + 128, 3), np.uint8)
    left, top = canvas.copy(), canvas.copy()
    left[:64, :96], top[64:, 128:] = image, image
    one, other = instances(inferencer, [left, top])
    inner = (one.bboxes[:, 0] > 12) & (one.bboxes[:, 1] > 12) & (
        one.bboxes[:, 2] < 84) & (one.bboxes[:, 3] < 52)
    assert inner.sum() >= 3
    for box, label in zip(one.bboxes[inner], one.labels[inner]):
        moved = (other.bboxes - box - torch.tensor([128., 64, 128, 64])).abs().amax(1)
        assert label == other.labels[moved.argmin()] and moved.min() < 1e-3


@pytest.mark.parametrize('give', [
    lambda path: path,
    lambda path: Path(path),
    lambda path: [path],
    lambda path: (Path(path), ),
    lambda path: cv2.imread(path),
    lambda path: [cv2.imread(path)],
    lambda path: np.asfortranarray(cv2.imread(path)),
    lambda path: np.ascontiguousarray(cv2.imread(path)[..., ::-1])[..., ::-1],
    lambda path: np.dstack([cv2.imread(path), np.full((64, 96), 7, np.uint8)]),
], ids=['str', 'Path', 'list', 'tuple of Path', 'array', 'list of array', 'fortran array',
        'reversed array', 'array with alpha'])
def test_images_of_every_kind(inferencer, photos, give):
    path = image_files(photos)[1]
    expected, = instances(inferencer, path)
    found, = instances(inferencer, give(path))
    same(found, expected)


def test_images_in_gray(inferencer, photos, tmp_path):
    grey = cv2.imread(image_files(photos)[0], cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / 'grey.png'), grey)
    three = np.repeat(grey[..., None], 3, axis=2)
    expected, *others = instances(
        inferencer, [three, grey, grey[..., None], str(tmp_path / 'grey.png')])
    assert all(same(other, expected) for other in others)


def test_input_array_is_not_changed(inferencer, photos):
    image = cv2.imread(image_files(photos)[0])
    before = image.copy()
    inferencer(image, return_vis=True)
    np.testing.assert_array_equal(image, before)


def test_arrays_in_a_float_pipeline(config, weights, photos):
    settings = Config.fromfile(config)
    settings.test_dataloader.dataset.pipeline[0].to_float32 = True
    path = image_files(photos)[0]
    # Resizing rounds to whole values unless they are floats.
    one, other = instances(CenterNetInferencer(settings, weights, resolution='fix'),
                           [path, cv2.imread(path)])
    same(one, other)


def test_folder_in_order_of_names(inferencer, photos, tmp_path):
    image = cv2.imread(image_files(photos)[0])
    for name in ('b.PNG', 'a.jpg', 'c.bmp'):
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / 'folder.png').mkdir()
    found = inferencer(tmp_path, return_datasamples=True)['predictions']
    assert [Path(sample.img_path).name for sample in found] == ['a.jpg', 'b.PNG', 'c.bmp']


@pytest.mark.parametrize('options', [dict(), dict(tta='ms')], ids=str)
@pytest.mark.parametrize('batch_size', [4, 100])
def test_batches_equal_single_images(config, weights, photos, options, batch_size):
    inferencer = CenterNetInferencer(config, weights, **options)
    one_by_one = instances(inferencer, image_files(photos))
    together = instances(inferencer, image_files(photos), batch_size=batch_size)
    assert len(together) == 6
    assert all(same(*pair, exact=False) for pair in zip(one_by_one, together))


def test_batch_of_different_shapes(inferencer, photos):
    """Every image in the upper left of the largest input, wherever CenterPad put it."""
    image = cv2.imread(image_files(photos)[0])
    shapes = [(64, 96), (30, 20), (64, 40)]
    found = inferencer([image[:h, :w] for h, w in shapes], batch_size=3,
                       return_datasamples=True)['predictions']
    assert [sample.ori_shape for sample in found] == shapes
    for sample, (h, w) in zip(found, shapes):
        left, top = ((side | 31) // 2 + 1 - side // 2 for side in (w, h))
        padded = torch.zeros(3, 96, 128, dtype=torch.uint8)
        padded[:, top:top + h, left:left + w] = torch.from_numpy(image[:h, :w]).permute(2, 0, 1)
        with torch.no_grad():
            expected, = inferencer.model.test_step(dict(inputs=[padded], data_samples=[
                DetDataSample(metainfo=dict(
                    ori_shape=(96, 128), img_shape=(96, 128), homography_matrix=np.eye(3)))]))
        expected = expected.pred_instances
        expected.bboxes -= torch.tensor([left, top, left, top])
        same(sample.pred_instances, expected, exact=False)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_images_smaller_than_a_cell(config, weights, options):
    inferencer = CenterNetInferencer(config, weights, **options)
    for shape in [(2, 3), (3, 200)]:
        sample, = inferencer(np.full((*shape, 3), 200, np.uint8), return_datasamples=True,
                             return_vis=True)['predictions']
        assert sample.ori_shape == shape and sample.pred_instances.bboxes.isfinite().all()
    if options.get('tta') == 'ms':
        with pytest.raises(UserError, match='is 1 x 1 px, of which the test scale 0.5 leaves no'):
            inferencer(np.zeros((1, 1), np.uint8))
    else:
        assert inferencer(np.zeros((1, 1), np.uint8))


def test_clip_boxes(config, weights, photos, inferencer):
    free, = instances(inferencer, image_files(photos)[0])
    border = torch.tensor([96., 64, 96, 64])
    assert (free.bboxes < 0).any() and (free.bboxes > border).any()
    settings = Config.fromfile(config)
    for wanted, configured, clipped in [(True, False, True), (None, True, True),
                                        (False, True, False), (None, None, False)]:
        settings.model.test_cfg = dict(settings.model.test_cfg, clip_boxes=configured)
        if configured is None:
            del settings.model.test_cfg.clip_boxes
        found, = instances(CenterNetInferencer(settings, weights, clip_boxes=wanted),
                           image_files(photos)[0])
        expected = torch.minimum(free.bboxes.clamp(min=0), border) if clipped else free.bboxes
        torch.testing.assert_close(found.bboxes, expected, rtol=0, atol=0)
    written_by_hand = Config.fromfile(config)
    apply_test_options(written_by_hand, tta='flip')
    for source, tta in [(config, 'ms'), (written_by_hand, None)]:
        found, = instances(CenterNetInferencer(source, weights, clip_boxes=True, tta=tta),
                           image_files(photos)[0])
        assert (found.bboxes >= 0).all() and (found.bboxes <= border).all()


def test_config_object_is_not_changed(config, weights, photos, inferencer):
    settings = Config.fromfile(config)
    before = settings.pretty_text
    other = CenterNetInferencer(settings, str(weights), clip_boxes=True, tta='flip')
    assert settings.pretty_text == before
    assert type(other.model).__name__ == 'CenterNetTTAModel'


# Drawing and files.

def test_drawn_images_and_files(config, weights, photos, tmp_path):
    inferencer = CenterNetInferencer(config, weights)
    files = image_files(photos)[:2]
    inferencer(files[1], return_vis=True, pred_score_thr=1)  # pictures are counted, results not
    result = inferencer([*files, cv2.imread(files[0])], out_dir=tmp_path / 'out', batch_size=2,
                        no_save_pred=False, return_vis=True, pred_score_thr=0.7)
    pictures = {path.stem: cv2.imread(str(path)) for path in (tmp_path / 'out/vis').iterdir()}
    written = {path.stem: json.loads(path.read_text())
               for path in (tmp_path / 'out/preds').iterdir()}
    assert sorted(pictures) == ['00000003', 'img_0', 'img_1']
    assert sorted(written) == ['3', 'img_0', 'img_1']  # the array's picture and result
    assert [written['img_0'], written['img_1'], written['3']] == result['predictions']
    # In colour, boxes in the checkpoint's colours, also for the array.
    shown = pictures['img_0']
    assert shown.shape == (64, 96, 3)
    np.testing.assert_array_equal(shown[..., ::-1], result['visualization'][0])
    np.testing.assert_array_equal(result['visualization'][2], result['visualization'][0])
    assert (shown == cv2.imread(files[0])).all(2).mean() > 0.2
    assert (shown != cv2.imread(files[0])).any(2).mean() > 0.05
    # The next array gets the next number in both.
    inferencer(cv2.imread(files[0]), out_dir=tmp_path / 'out', no_save_pred=False,
               pred_score_thr=1)
    assert (tmp_path / 'out/vis/00000004.jpg').exists()
    assert (tmp_path / 'out/preds/4.json').exists()


def test_pred_score_thr_selects_drawn_boxes(inferencer, photos):
    path = image_files(photos)[0]
    nothing = inferencer(path, return_vis=True, pred_score_thr=1.0)
    assert len(nothing['predictions'][0]['scores']) == 20
    np.testing.assert_array_equal(nothing['visualization'][0][..., ::-1], cv2.imread(path))


def test_drawn_box_is_where_it_is_predicted(config, state, tmp_path):
    """One peak, one box of known place, in the palette's colour."""
    model = dict(state)
    for name in model:
        if name.startswith('bbox_head') and name.endswith('2.weight'):
            model[name] = torch.zeros_like(model[name])
    model['bbox_head.stacks.0.heatmap.2.bias'] = torch.tensor([-9., 2.])
    model['bbox_head.stacks.0.wh.2.bias'] = torch.tensor([10., 6.])
    model['bbox_head.stacks.0.offset.2.bias'] = torch.zeros(2)
    settings = Config.fromfile(config)
    settings.model.test_cfg.max_per_img = 1
    settings.model.test_cfg.topk = 1
    inferencer = CenterNetInferencer(settings, saved(dict(state_dict=model), tmp_path),
                                     palette='red')
    result = inferencer(np.full((64, 96, 3), 90, np.uint8), return_vis=True)
    box, = result['predictions'][0]['bboxes']
    assert box[2] - box[0] == pytest.approx(40) and box[3] - box[1] == pytest.approx(24)
    red = result['visualization'][0].astype(int) @ [1, -1, 0] > 60
    rows, columns = np.nonzero(red)
    assert max(0, box[2]) - 3 <= columns.max() <= box[2] + 3
    assert max(0, box[3]) - 3 <= rows.max() <= box[3] + 3


def test_boxes_without_area_are_not_drawn(config, state, photos, tmp_path):
    inside_out = dict(state)
    inside_out['bbox_head.stacks.0.wh.2.bias'] = torch.full((2, ), -9.)
    inferencer = CenterNetInferencer(config, saved(dict(state_dict=inside_out), tmp_path))
    path = image_files(photos)[0]
    result = inferencer(path, return_vis=True, pred_score_thr=0)
    boxes = np.array(result['predictions'][0]['bboxes'])
    assert (boxes[:, 2] < boxes[:, 0]).all()
    np.testing.assert_array_equal(result['visualization'][0][..., ::-1], cv2.imread(path))


def test_printing_and_progress(config, weights, photos, inferencer, capsys):
    inferencer(str(photos))
    assert capsys.readouterr().out == ''
    inferencer(image_files(photos)[0], print_result=True)
    assert "'predictions': [{'labels':" in capsys.readouterr().out
    CenterNetInferencer(config, weights, show_progress=True)(str(photos), batch_size=4)
    text = capsys.readouterr().out
    assert 'Inference' in text and '100%' in text


def test_inputs_of_the_same_name(inferencer, photos, tmp_path):
    path = image_files(photos)[0]
    for name in ('one/a.png', 'two/a.png', 'two/a.bmp'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), cv2.imread(path))
    out = tmp_path / 'out'
    with pytest.raises(UserError, match=r'one/a\.png and .*two/a\.png would be written to the'):
        inferencer([tmp_path / 'one/a.png', tmp_path / 'two/a.png'], out_dir=out)
    with pytest.raises(UserError, match=r'two/a\.bmp and .*two/a\.png'):
        inferencer(tmp_path / 'two', out_dir=out, no_save_pred=False)
    assert not out.exists()
    inferencer(tmp_path / 'two', out_dir=out)
    assert len(list((out / 'vis').iterdir())) == 2
    with pytest.raises(UserError, match=r'a\.png is a file: name a folder'):
        inferencer(path, out_dir=tmp_path / 'one/a.png')


# Names and colors.

def test_dataset_meta_of_the_checkpoint(inferencer):
    assert inferencer.model.dataset_meta == dict(
        classes=('quadrate', 'ring'), palette=[(250, 10, 20), (0, 130, 240)])
    assert inferencer.visualizer.dataset_meta == inferencer.model.dataset_meta


def test_dataset_meta_of_the_config(config, state, tmp_path):
    bare = saved(dict(state), tmp_path)
    settings = Config.fromfile(config)
    settings.visualizer = dict(
        type='mmdet.DetLocalVisualizer', vis_backends=[dict(type='mmengine.LocalVisBackend')])
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # nor does a backend without a folder complain
        inferencer = CenterNetInferencer(settings, bare)
    assert inferencer.model.dataset_meta['classes'] == ('square', 'disc')


def test_dataset_meta_of_neither(config, state, photos, tmp_path):
    path = tmp_path / 'nameless.py'
    path.write_text(config.read_text() + "\nfor x in (test_dataloader, train_dataloader):\n"
                    "    x['dataset'].pop('metainfo')\n")
    with pytest.warns(UserWarning, match="names 2 classes: they are called 'class 0'") as said:
        inferencer = CenterNetInferencer(path, saved(dict(state), tmp_path))
    assert len(said) == 1 and said[0].filename == __file__
    assert inferencer.model.dataset_meta['classes'] == ('class 0', 'class 1')
    inferencer(image_files(photos)[0], return_vis=True)


def test_palette(config, weights):
    green = CenterNetInferencer(config, weights, palette='green').model.dataset_meta
    assert green['classes'] == ('quadrate', 'ring') and green['palette'] == [(0, 255, 0)] * 2
    own = CenterNetInferencer(config, weights, palette=[(1, 2, 3), [4, 5, 6]]).model.dataset_meta
    assert own['palette'] == [(1, 2, 3), (4, 5, 6)]
    for wrong in ('greenish', [(1, 2, 3)], 7):
        with pytest.raises(UserError, match='is not a palette for 2 classes'):
            CenterNetInferencer(config, weights, palette=wrong)


# Errors.

def test_random_weights_warn(config):
    with pytest.warns(UserWarning, match='no weights are given: the model is random') as said:
        inferencer = CenterNetInferencer(config)
    assert len(said) == 1 and said[0].filename == __file__
    assert inferencer.model.dataset_meta['classes'] == ('square', 'disc')


def test_averaged_weights_are_the_checkpoints_own(config, state, photos, inferencer, tmp_path):
    """MMEngine's EMAHook saves the averages as state_dict and the others beside them."""
    other = {f'module.{name}': torch.zeros_like(value) for name, value in state.items()}
    path = saved(dict(state_dict=state, ema_state_dict=dict(other, steps=torch.tensor(3)),
                      optimizer={}, message_hub={}), tmp_path)
    file = image_files(photos)[0]
    same(*instances(CenterNetInferencer(config, path), file), *instances(inferencer, file))


class _Malicious:
    def __reduce__(self):
        return eval, ("open('harmed', 'w')", )


def _without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize('make, expected', [
    (lambda state: dict(optimizer=dict(state={0: {}}, param_groups=[])), 'holds no weights'),
    (lambda state: _without(state, 'bbox_head.stacks.0.wh.2.bias'),
     'does not fit the config\'s model: 1 missing (bbox_head.stacks.0.wh.2.bias)'),
    (lambda state: dict(state, extra=torch.zeros(1)), '1 unknown to the model (extra)'),
    (lambda state: dict(state, **{'bbox_head.stacks.0.heatmap.2.bias': torch.zeros(80)}),
     '(80,) in the file, (2,) in the model'),
    (lambda state: {f'bbox_head.{branch}_head.{layer}.weight': torch.zeros(1)
                    for branch in ('heatmap', 'wh', 'offset') for layer in (0, 2)},
     "it is a checkpoint of MMDetection's CenterNet, which has to be converted first: python "
     'tools/model_converters/convert_checkpoint.py'),
    (lambda state: _Malicious(), 'is not read because loading such objects can run any program'),
    (lambda state: [1], 'holds a list'),
])
def test_wrong_checkpoints(config, state, tmp_path, monkeypatch, make, expected):
    monkeypatch.chdir(tmp_path)
    path = saved(make(state), tmp_path)
    with pytest.raises(UserError, match=re.escape(expected)) as error:
        CenterNetInferencer(config, path)
    assert 'saved.pth' in str(error.value) and '\n' not in str(error.value)
    assert not Path('harmed').exists()


def test_truncated_and_missing_checkpoint(config, weights, tmp_path):
    (tmp_path / 'cut.pth').write_bytes(weights.read_bytes()[:-500])
    with pytest.raises(UserError, match=r'cut\.pth is truncated after'):
        CenterNetInferencer(config, tmp_path / 'cut.pth')
    with pytest.raises(UserError, match=r'none\.pth does not exist: .* holds cut\.pth'):
        CenterNetInferencer(config, tmp_path / 'none.pth')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of a web server for ``tmp_path / 'served'``, torch's cache beside it."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '*')
    (tmp_path / 'served').mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(
        ('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path / 'served')))
    Thread(target=http.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{http.server_port}'
    http.shutdown()
    http.server_close()


def test_weights_and_images_of_web_addresses(config, weights, photos, inferencer, server, tmp_path,
                                         monkeypatch):
    served = tmp_path / 'served'
    (served / 'tiny.pth').write_bytes(weights.read_bytes())
    (served / 'a.png').write_bytes(Path(image_files(photos)[0]).read_bytes())
    remote = CenterNetInferencer(config, f'{server}/tiny.pth')
    same(*instances(remote, f'{server}/a.png'), *instances(inferencer, image_files(photos)[0]))
    # The copy serves the next time; another address of the same name is another file.
    (served / 'tiny.pth').unlink()
    CenterNetInferencer(config, f'{server}/tiny.pth')
    (served / 'other').mkdir()
    monkeypatch.chdir(tmp_path)
    saved(_Malicious(), served / 'other', 'tiny.pth')
    with pytest.raises(UserError, match='can run any program'):
        CenterNetInferencer(config, f'{server}/other/tiny.pth')
    assert not Path('harmed').exists()
    with pytest.raises(UserError, match=r'none\.pth cannot be downloaded \(.*404'):
        CenterNetInferencer(config, f'{server}/none.pth')
    with pytest.raises(UserError, match=r'none\.png cannot be read'):
        remote(f'{server}/none.png')
    with pytest.raises(UserError, match=r's3://x/tiny\.pth is neither a file nor an http'):
        CenterNetInferencer(config, 's3://x/tiny.pth')


@pytest.mark.parametrize('inputs, expected', [
    ([], 'inputs is an empty list'),
    ('nowhere/photo.jpg', 'image nowhere/photo.jpg does not exist'),
    (None, 'inputs is None'),
    (torch.zeros(4, 4, 3), 'inputs is a Tensor'),
    ([np.zeros((4, 4, 3), np.uint8), 3], 'inputs[1] is a int'),
    (np.zeros((4, 4, 3)), 'inputs is an array of float64: give uint8'),
    (np.zeros((4, 4, 3), np.uint16), 'an array of uint16'),
    (np.zeros((3, 40, 50), np.uint8), 'an array of shape (3, 40, 50)'),
    ([np.zeros((2, 4, 4, 3), np.uint8)], 'inputs[0] is an array of shape (2, 4, 4, 3)'),
    (np.zeros((0, 4, 3), np.uint8), 'an array of shape (0, 4, 3)'),
    ([str(ROOT / 'docs')], 'inputs[0] is the folder'),
    (str(ROOT / 'tests'), 'holds no image'),
    ((x for x in 'ab'), 'inputs is a generator'),
])
def test_wrong_inputs(inferencer, tmp_path, inputs, expected):
    with pytest.raises(UserError, match=re.escape(expected)) as error:
        inferencer(inputs, out_dir=tmp_path / 'out')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'out').exists()


def test_wrong_batch_size(inferencer, photos):
    for wrong in (0, -1, 2.5, '2'):
        with pytest.raises(UserError, match=f'batch_size={wrong}'):
            inferencer(str(photos), batch_size=wrong)
    assert inferencer(str(photos), batch_size=np.int64(4))


@pytest.mark.parametrize('broken, expected', [
    (lambda data: data[:len(data) // 2], 'is truncated'),
    (lambda data: b'', 'is not an image that OpenCV can read'),
    (lambda data: b'<html>404</html>', 'is not an image that OpenCV can read'),
])
def test_broken_image_among_others(inferencer, photos, tmp_path, broken, expected):
    folder = tmp_path / 'photos'
    folder.mkdir()
    image = cv2.imread(image_files(photos)[0])
    for name in 'abcd':
        cv2.imwrite(str(folder / f'{name}.jpg'), image)
    (folder / 'c.jpg').write_bytes(broken((folder / 'c.jpg').read_bytes()))
    with pytest.raises(UserError, match=rf'c\.jpg.* {expected}'):
        inferencer(folder, out_dir=tmp_path / 'out', no_save_pred=False)
    assert sorted(p.name for p in (tmp_path / 'out/preds').iterdir()) == ['a.json', 'b.json']
    assert sorted(p.name for p in (tmp_path / 'out/vis').iterdir()) == ['a.jpg', 'b.jpg']
    for path in (tmp_path / 'out/preds').iterdir():
        assert len(json.loads(path.read_text())['scores']) == 20


def test_devices(config, weights, monkeypatch):
    for wrong in ('gpu', 'cuda:x'):
        with pytest.raises(UserError, match=f'device={wrong!r} is not a valid PyTorch device'):
            CenterNetInferencer(config, weights, device=wrong)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 0)
    with pytest.raises(UserError, match="device='cuda', but PyTorch sees no GPU"):
        CenterNetInferencer(config, weights, device='cuda')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UserError, match="device='cuda:2', but PyTorch sees 2 GPU"):
        CenterNetInferencer(config, weights, device='cuda:2')


@pytest.mark.parametrize('options, expected', [
    (dict(resolution='small'), 'small'), (dict(tta='flop'), 'flop')])
def test_wrong_options(config, weights, options, expected):
    with pytest.raises(UserError, match=expected):
        CenterNetInferencer(config, weights, **options)


def test_wrong_configs(config, weights, tmp_path):
    with pytest.raises(UserError, match='centernet_r18_dcn_140_coco.py does not exist: did you'):
        CenterNetInferencer('centernet_r18_dcn_140_coco.py', weights)
    with pytest.raises(UserError, match='model must be the path of a config or a Config, not No'):
        CenterNetInferencer(None, weights)
    settings = Config.fromfile(config)
    settings.test_dataloader.dataset.pipeline.pop(0)
    with pytest.raises(UserError, match='the test pipeline does not load images'):
        CenterNetInferencer(settings, weights)
    settings.pop('test_dataloader')
    with pytest.raises(UserError, match='the config has no test_dataloader with a pipeline'):
        CenterNetInferencer(settings, weights)
    settings = Config.fromfile(config)
    settings.model = dict(
        type='mmdet.CenterNet', backbone=settings.model.backbone,
        neck=dict(settings.model.neck, type='mmdet_centernet.CTResNetNeck'),
        bbox_head=dict(type='mmdet.CenterNetHead', num_classes=2, in_channels=8,
                       feat_channels=8, test_cfg=None))
    with pytest.raises(UserError, match='CenterNet without a head of mmdet_centernet: use mm'):
        CenterNetInferencer(settings, weights)


# Imports and docs.

def test_inferencer_is_imported_when_asked_for():
    """The tools import the package, and need not wait for mmdet."""
    spec = importlib.util.spec_from_file_location('fresh', mmdet_centernet.apis.__file__)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert 'CenterNetInferencer' in fresh.__all__ and 'CenterNetInferencer' not in vars(fresh)
    with pytest.raises(AttributeError, match="no attribute 'Inferencer'"):
        mmdet_centernet.apis.Inferencer  # noqa: B018


def code_of(page):
    return re.findall(r'```python\n(.*?)```', page, re.DOTALL)


def test_code_of_the_docs(config, weights, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('configs').mkdir()
    Path('configs/centernet_r18_dcn_140e_coco.py').write_text(
        config.read_text() + "\nvisualizer = dict(type='mmdet.DetLocalVisualizer')\n")
    Path('weights.pth').write_bytes(weights.read_bytes())
    pose = pose_project.write_config(
        'configs', pose_project.write_data(tmp_path / 'pose'),
        'centernet_pose_dla34_140e_coco.py')
    torch.save(dict(state_dict=pose_project.weights_of(pose)), 'pose.pth')
    data = mono3d_project.write_data(tmp_path / 'mono3d')
    mono3d = mono3d_project.write_config(
        'configs', data, 'centernet_mono3d_dla34_70e_kitti.py')
    torch.save(dict(state_dict=mono3d_project.weights_of(mono3d)), 'mono3d.pth')
    Path('calib').mkdir()
    Path('calib/000123.txt').write_text((data / 'training/calib/000000.txt').read_text())
    Path('road.png').write_bytes((data / 'training/image_2/000000.png').read_bytes())
    Path('photos').mkdir()
    image = cv2.imread(image_files(photos)[0])
    for name in ('photo.jpg', 'photos/a.jpg', 'photos/b.jpg'):
        cv2.imwrite(name, image)
    names = {}
    blocks = code_of((ROOT / 'docs/inference.md').read_text())
    assert len(blocks) == 7
    for block in blocks:
        exec(compile(block, 'docs/inference.md', 'exec'), names)
    assert Path('out/vis/a.jpg').exists() and Path('out/preds/b.json').exists()
    text = capsys.readouterr().out
    assert 'quadrate' in text and 'left_bottom 0.8999' in text
    assert 'Car 0.90: 12.0 m ahead' in text
    assert names['picture'].shape == (64, 2 * 96, 3)  # the skeletons beside the heat maps
    # The last block is MMDetection's own inferencer.
    assert type(names['inferencer']).__name__ == 'DetInferencer'
    theirs = names['inferencer'](image)['predictions'][0]
    ours = CenterNetInferencer(config, weights)(image)['predictions'][0]
    assert theirs == ours
