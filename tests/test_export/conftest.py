"""A tiny detector with deformable convolutions whose outputs are far apart."""
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.apis import CenterNetInferencer
from mmdet_centernet.models.layers import DCNv2
from mmdet_centernet.registry import MODELS

sys.path.append(str(Path(__file__).resolve().parents[1] / 'test_tools'))
import tiny_project  # noqa: E402
from spread_weights import spread_outputs  # noqa: E402


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Folder of ten images of 64 x 96."""
    return tiny_project.write_data(tmp_path_factory.mktemp('photos'), 10)


@pytest.fixture(scope='session')
def config(photos, tmp_path_factory):
    """A config file."""
    return tiny_project.write_config(tmp_path_factory.mktemp('config'), photos, use_dcn=True)


@pytest.fixture(scope='session')
def weights(config, tmp_path_factory):
    """A checkpoint: random, but that its heat map has peaks and its kernels are deformed."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, DCNv2):
                layer.conv_offset.weight.normal_(std=0.1)
    spread_outputs(model, (64, 96))
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='session')
def inferencer(config, weights):
    """The detector."""
    return CenterNetInferencer(str(config), weights, device='cpu')
