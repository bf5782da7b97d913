"""A tiny detector with weights that find something, and images for it."""
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.registry import MODELS

sys.path.append(str(Path(__file__).resolve().parents[1] / 'test_tools'))
import tiny_project  # noqa: E402

PALETTE = [(250, 10, 20), (0, 130, 240)]


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Folder of six images of 64 x 96."""
    return tiny_project.write_data(tmp_path_factory.mktemp('photos'))


@pytest.fixture(scope='session')
def config(photos, tmp_path_factory):
    """A config file."""
    return tiny_project.write_config(tmp_path_factory.mktemp('config'), photos)


@pytest.fixture(scope='session')
def state(config, photos):
    """Weights of its model: random, but for scores far apart and boxes wider than high."""
    settings = Config.fromfile(config)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(settings.model).eval()
    photo = torch.from_numpy(cv2.imread(str(photos / 'img_0.png'))).permute(2, 0, 1)[None] / 255
    branches = model.bbox_head.stacks[0]
    with torch.no_grad():
        logits = model(photo, mode='tensor')[0][-1]['heatmap']
        mean, std = logits.mean((0, 2, 3)), logits.std((0, 2, 3))
        last = branches['heatmap'][-1]
        last.weight /= std[:, None, None, None]
        last.bias.copy_((last.bias - mean) / std - 1)
        branches['wh'][-1].bias += torch.tensor([5., 3.5])
    return model.state_dict()


@pytest.fixture(scope='session')
def weights(state, tmp_path_factory):
    """A checkpoint file of the weights that names the classes."""
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(
        classes=('quadrate', 'ring'), palette=PALETTE))), path)
    return path
