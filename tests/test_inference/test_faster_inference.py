"""The inferencer and tools/test.py find the same with the options that make them faster."""
import pickle

import mono3d_project
import pose_project
import pytest
import tiny_project
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_centernet import cli
from mmdet_centernet.apis import CenterNetInferencer
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.optimize import faster

EMA = "custom_hooks = [dict(type='mmengine.EMAHook', update_buffers=True)]\n"


class Project:
    """A config, its checkpoint, images, and what else the inferencer has to be told."""

    def __init__(self, config, weights, photos, **options):
        self.config, self.weights, self.photos = config, weights, photos
        self.options = options

    def find(self, **options):
        """``pred_instances`` of each image, and the inferencer."""
        inferencer = CenterNetInferencer(self.config, self.weights, device='cpu', **options)
        found = inferencer(str(self.photos), return_datasamples=True, **self.options)
        return [sample.pred_instances for sample in found['predictions']], inferencer


@pytest.fixture(scope='module')
def pose(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pose')
    photos = pose_project.write_data(folder)
    config = pose_project.write_config(folder, photos)
    torch.save(dict(state_dict=pose_project.weights_of(config)), folder / 'weights.pth')
    return Project(config, folder / 'weights.pth', photos)


@pytest.fixture(scope='module')
def mono3d(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mono3d')
    data = mono3d_project.write_data(folder)
    config = mono3d_project.write_config(folder, data)
    torch.save(dict(state_dict=mono3d_project.weights_of(config)), folder / 'weights.pth')
    return Project(config, folder / 'weights.pth', data / 'training/image_2',
                   cam2img=str(data / 'training/calib'))


@pytest.fixture(scope='module')
def boxes(config, weights, photos):
    return Project(config, weights, photos)


@pytest.fixture
def project(request):
    return request.getfixturevalue(request.param)


def norms(model):
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def assert_same(found, expected, scores=1e-3, places=0.05):
    """As sets: each detection has its own among those of the other."""
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other) > 0
        free = torch.ones(len(one), dtype=torch.bool)
        for index in range(len(other)):
            distance = (one.bboxes - other.bboxes[index]).abs().amax(1)
            distance[(one.labels != other.labels[index]) | ~free] = torch.inf
            mine = int(distance.argmin())
            free[mine] = False
            for name, value in other[index].items():
                assert one[name].dtype == value.dtype
                difference = (one[name][mine] - value[0]).abs().max()
                limit = scores if 'scores' in name else places
                assert difference <= limit, (name, index, difference)


@pytest.mark.parametrize('tta', [None, 'flip'])
@pytest.mark.parametrize('project', ['boxes', 'pose', 'mono3d'], indirect=True)
def test_optimized_finds_the_same(project, tta):
    expected, plain = project.find(tta=tta)
    found, fast = project.find(tta=tta, optimize=True)
    assert_same(found, expected)
    assert norms(plain.model) and not norms(fast.model)
    assert fast.model.dataset_meta == plain.model.dataset_meta


@pytest.mark.parametrize('optimize', [False, True])
@pytest.mark.parametrize('tta', [None, 'flip'])
def test_bfloat16_finds_nearly_the_same(boxes, tta, optimize):
    """Heat maps of random weights have neighbours that score the same but for the third digit,
    so that some peaks move by a cell."""
    expected, _ = boxes.find(tta=tta)
    found, _ = boxes.find(tta=tta, precision='bfloat16', optimize=optimize)
    matched = []
    for one, other in zip(found, expected, strict=True):
        best = other[other.scores > 0.3]
        distance = (one.bboxes[:, None] - best.bboxes).abs().amax(2)
        distance[one.labels[:, None] != best.labels] = torch.inf
        nearest, index = distance.min(0)
        matched.append((nearest < 1) & ((one.scores[index] - best.scores).abs() < 0.05))
        assert one.scores.dtype == torch.float32 and not torch.equal(one.bboxes, other.bboxes)
    matched = torch.cat(matched)
    assert len(matched) > 20 and matched.float().mean() > 0.8


@pytest.mark.parametrize('project', ['pose', 'mono3d'], indirect=True)
def test_bfloat16_of_every_task(project):
    expected, _ = project.find()
    found, _ = project.find(precision='bfloat16', optimize=True)
    for one, other in zip(found, expected, strict=True):
        for name, values in other.items():
            assert one[name].dtype == values.dtype
            assert torch.isfinite(one[name]).all()
        torch.testing.assert_close(one.scores, other.scores, rtol=0.1, atol=0.02)


def test_compile_is_passed_on(boxes, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda function: compiled.append(function) or function)
    expected, _ = boxes.find()
    found, _ = boxes.find(optimize='compile')
    assert_same(found, expected)
    assert [function.__name__ for function in compiled] == ['extract_feat', 'forward_last']


@pytest.mark.parametrize('options, words', [
    (dict(optimize='fast'), "optimize='fast' is unknown: it is one of False, True, compile"),
    (dict(precision='half'), "precision='half' is unknown: .*float16"),
    (dict(precision='float16'), "precision='float16' is for GPUs: on a CPU use 'bfloat16'")])
def test_what_cannot_be(boxes, options, words):
    with pytest.raises(UserError, match=words):
        boxes.find(**options)


def test_nothing_asked_nothing_changed():
    model = torch.nn.Conv2d(3, 3, 1)
    assert faster(model) is model


@pytest.mark.parametrize('extra', ['', EMA], ids=['plain', 'averaged'])
def test_the_test_tool(config, weights, photos, tmp_path, extra):
    config = tiny_project.write_config(tmp_path, photos, extra=extra)
    tool = tiny_project.load_tool('test.py')

    def tested(*options):
        out = tmp_path / f'{len(options)}.pkl'
        assert cli.run(tool.main, [
            str(config), str(weights), '--work-dir', str(tmp_path), '--out', str(out),
            '--device', 'cpu', *options]) == 0
        # As written by this very test: plain tensors in dictionaries.
        return [each['pred_instances'] for each in pickle.loads(out.read_bytes())]

    expected = tested()
    same, rough = tested('--optimize'), tested('--optimize', '--precision', 'bfloat16')
    for one, other, third in zip(same, expected, rough, strict=True):
        torch.testing.assert_close(one['scores'], other['scores'])
        assert not torch.equal(one['scores'], other['scores'])
        torch.testing.assert_close(third['scores'], other['scores'], rtol=0, atol=0.05)
        with pytest.raises(AssertionError):
            torch.testing.assert_close(third['scores'], other['scores'])
    assert cli.run(tool.main, [str(config), str(weights), '--work-dir', str(tmp_path),
                               '--precision', 'float16', '--device', 'cpu']) == 1
