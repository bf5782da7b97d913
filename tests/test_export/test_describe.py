"""What a config says of the models that are exported from it."""
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.export.describe import describe
from mmdet_centernet.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
META = dict(classes=('a', 'b'), palette=[(1, 2, 3), (4, 5, 6)], num_keypoints=2)


def model_of(config):
    """A config's head in an empty model."""
    init_default_scope('mmdet')
    model = nn.Module()
    model.bbox_head = MODELS.build(dict(
        config.model.bbox_head, test_cfg=config.model.get('test_cfg')))
    model.dataset_meta = META
    return model


def described(name, change=None, **options):
    config = Config.fromfile(CONFIGS / name)
    if change:
        change(config)
    return describe(model_of(config), config, name, **options)


@pytest.mark.parametrize('path', sorted(
    path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob('**/*.py')
    if '_base_' not in path.parts))
def test_every_config_can_be_exported(path):
    """At one size, which its network takes, and at any."""
    meta, free = described(path), described(path, dynamic=True, batch=None)
    divisor = 128 if 'hg' in path or 'hourglass' in path else 32
    assert meta['divisor'] == divisor and not any(side % divisor for side in meta['shape'])
    assert meta['transform']['size'] == meta['shape'][::-1] and meta['batch'] == 1
    assert free['shape'] is None and free['batch'] is None
    assert ('pose' in path) == (meta['task'] == 'pose')
    assert ('mono3d' in path or 'ddd' in path) == (meta['task'] == 'mono3d')
    assert meta['stride'] == 4 and meta['classes'] == ['a', 'b']
    assert meta['palette'] == [[1, 2, 3], [4, 5, 6]] and meta['skeleton'] == dict(num_keypoints=2)


def test_sizes():
    pad = 'centernet_lite0_tree_crowns.py'
    assert described(pad, dynamic=True)['transform'] == dict(
        type='CenterPad', pad_mask=31, pad_value=[0, 0, 0], scale=1.0)
    assert described(pad)['shape'] == [512, 512]
    assert described(pad, shape=(64, 96))['transform'] == dict(
        type='CenterResize', fit='whole', size=[96, 64], pad_value=[0, 0, 0], scale=1.0)
    space = 'official/ddd_3dop.py'
    assert described(space)['shape'] == [384, 1280]
    assert described(space)['transform']['fit'] == 'width'
    assert described(space)['test_cfg']['shift_sizes'] is True
    assert described(space)['test_cfg']['score_thr'] == 0.2
    stretch = 'bubbliiiing/resnet50_voc.py'
    assert described(stretch)['transform'] == dict(
        type='Resize', size=[512, 512], backend='pillow', interpolation='bicubic')
    assert described(stretch)['test_cfg']['nms'] == dict(type='nms', iou_threshold=0.3)


def sizing(**step):
    """Replace the sizing step of the test pipeline."""
    def change(config):
        config.test_dataloader.dataset.pipeline[1] = step
    return change


@pytest.mark.parametrize('change, options, words', [
    (sizing(type='mmdet.Resize', scale=(512, 512), keep_ratio=True), {}, 'keeps proportions'),
    (sizing(type='mmdet.Resize', scale_factor=2), {}, 'keeps proportions'),
    (sizing(type='mmdet.Pad', size=(512, 512)), {}, 'an exported model needs a test pipeline'),
    (None, dict(shape=(100, 64)), r'100 64 \(height, width\) .* --shape 128 64'),
    (lambda config: config.model.test_cfg.update(nms=dict(type='soft_nms')), {},
     'suppresses by soft_nms'),
])
def test_what_cannot_be_exported(change, options, words):
    with pytest.raises(UserError, match=words):
        described('centernet_r18_dcn_140e_coco.py', change, **options)


def test_a_deformable_convolution_is_told():
    config = Config.fromfile(CONFIGS / 'centernet_r18_dcn_140e_coco.py')
    model = model_of(config)
    assert describe(model, config, 'x')['dcn'] is None
    model.layer = MODELS.build(dict(
        type='mmdet_centernet.DCNv2', in_channels=2, out_channels=2, kernel_size=3))
    assert describe(model, config, 'x')['dcn'] == 'grid_sample'
    assert SimpleNamespace(**describe(model, config, 'x')).precision == 'float32'
