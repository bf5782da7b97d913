"""A tiny detector with deformable convolutions whose outputs are far apart."""
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.inference.loading import load_detector
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
def config_file(photos, tmp_path_factory):
    return tiny_project.write_config(tmp_path_factory.mktemp('config'), photos, use_dcn=True)


@pytest.fixture(scope='session')
def config(config_file):
    return Config.fromfile(config_file)


@pytest.fixture(scope='session')
def weights(config, tmp_path_factory):
    """A checkpoint: random, except that its heatmap has peaks and its kernels are deformed."""
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, DCNv2):
                layer.conv_offset.weight.normal_(std=0.1)
    spread_outputs(model, (64, 96))
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.fixture(scope='session')
def model(config, weights):
    """The detector."""
    return load_detector(config, weights)
