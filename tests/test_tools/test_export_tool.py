"""tools/deployment/export.py: a file that works, or one sentence and no file."""
import re

import pytest
import tiny_project
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.registry import MODELS

TOOL = 'deployment/export.py'



@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    return tiny_project.write_data(tmp_path_factory.mktemp('photos'), 1)


@pytest.fixture(scope='module')
def config(photos):
    return tiny_project.write_config(photos, photos, use_dcn=True)


@pytest.fixture(scope='module')
def weights(config):
    return write_weights(config, config.parent / 'tiny.pth')


def write_weights(config, path):
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.mark.parametrize('options, words', [
    (['--shape', 64, 100], '64 100 (height, width) is not a multiple of 32, the network\'s '
     'coarsest stride: export with --shape 64 128'),
    (['--shape', 0, 64], 'export with --shape 32 64'),
    (['--opset', 17], '--opset 17 is not supported: with --dcn grid_sample it can be 18 to 23'),
    (['--opset', 18, '--dcn', 'deform_conv'], 'it can be 19 to 23'),
    (['--dcn', 'deform_conv', '--output', 'm.pt2'], 'pt2 does not have: use grid_sample'),
    (['--format', 'aotinductor', '--output', 'm.pt2'], 'aotinductor needs --input float'),
    (['--output', 'model.pb'], 'has the extension .pb: name it *.onnx'),
    (['--output', 'model.onnx', '--format', 'openvino'], 'must be named *.xml'),
    (['--format', 'tensorrt'], '--format tensorrt is unknown'),
    (['--batch', 0], '--batch 0 must be at least 1'),
    (['--batch', 'many'], "--batch takes a number or 'dynamic', not 'many'"),
    (['--flip', '--raw'], 'give one of them'),
    (['--output', '/proc/no/model.onnx'], '/proc/no/model.onnx cannot be written'),
    (['--cfg-options', 'model.test_cfg.nms.type=soft_nms'], 'suppresses detections by soft_nms'),
])
def test_wrong_command_lines(tool, config, weights, tmp_path, capsys, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    output = [] if '--output' in options else ['--output', 'model.onnx']
    assert tool(TOOL, config, weights, *output, *options) == 1
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert words in error
    assert not list(tmp_path.iterdir())


def test_without_deformable_convolutions(tool, photos, tmp_path, capsys):
    plain = tiny_project.write_config(tmp_path, photos)
    write_weights(plain, tmp_path / 'plain.pth')
    output = tmp_path / 'model.onnx'
    assert tool(TOOL, plain, tmp_path / 'plain.pth', '--output', output,
                '--dcn', 'deform_conv') == 1
    assert 'tiny has no deformable convolution: leave it out' in capsys.readouterr().err
    assert tool(TOOL, plain, tmp_path / 'plain.pth', '--output', output,
                '--shape', 64, 96) == 0
    out = capsys.readouterr().out
    assert re.search(r'model.onnx: 0\.\d MiB', out) and 'onnxruntime, input 1 x 64 x 96 x 3' in out
