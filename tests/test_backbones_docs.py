"""Every backbone that docs/backbones.md shows can be built, and the neck fits it."""
import re

import pytest
import torch
from helpers.configs import CONFIGS
from helpers.timm_models import import_timm
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.registry import MODELS

PAGE = (CONFIGS.parent / 'docs/backbones.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.S)
NAMES = [re.search(r"model_name='(\w+)'|type='mmdet\.(\w+)'|variant='(\w+)'", block)[0]
         for block in BLOCKS]
TIMM = re.search(r'Others that work: (.*?)\n\n', PAGE, re.S)[1]


def check(path):
    """Build the detector of a config without weights and look at its features."""
    init_default_scope('mmdet')
    config = Config.fromfile(path)
    if 'init_cfg' in config.model.backbone:
        config.model.backbone.init_cfg = None
    if 'pretrained' in config.model.backbone:
        config.model.backbone.pretrained = False
    model = MODELS.build(config.model).eval()
    with torch.no_grad():
        features = model.extract_feat(torch.rand(1, 3, 64, 96))
    assert features[-1].shape == (1, 32, 16, 24)
    return model


@pytest.fixture
def timm():
    """timm, if it is there."""
    module = import_timm()
    if module is None:
        pytest.skip('timm is not installed')
    return module


@pytest.mark.parametrize('block', BLOCKS, ids=NAMES)
def test_blocks_of_the_page(block, tmp_path, request):
    if 'TIMM' in block:
        request.getfixturevalue('timm')
    path = tmp_path / 'backbone.py'
    path.write_text(f"_base_ = '{CONFIGS}/centernet_lite0_140e_coco.py'\n{block}")
    model = check(path)
    assert len(model.neck.in_channels) == 4


def test_names_of_timm_that_the_page_lists(timm, tmp_path):
    names = re.findall(r'`(\w+)`', TIMM)
    assert len(names) >= 5
    for name in names:
        path = tmp_path / f'{name}.py'
        path.write_text(
            f"_base_ = '{CONFIGS}/centernet_lite0_140e_coco.py'\n"
            + BLOCKS[0].replace('mobilenetv3_large_100', name))
        check(path)
