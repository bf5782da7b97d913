"""The registries work whoever's scope is the default one."""
from collections import OrderedDict
from pathlib import Path

import mmdet.registry
import mmengine.registry
import pytest
from mmengine import Config
from mmengine.registry import DefaultScope, Registry

import mmdet_centernet.registry as ours

ROOT = Path(__file__).parents[1]
NAMES = [
    name for name, value in vars(ours).items()
    if isinstance(value, Registry) and value.scope == ours.SCOPE]
MODEL = ROOT / 'configs' / '_base_' / 'models' / 'centernet_lite0_dlaup.py'
THIRD = 'a_third_package'
MMDET_CONFIG = """
_base_ = 'mmdet::centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco.py'
custom_imports = dict(imports=['mmdet_centernet'], allow_failed_imports=False)
model = dict(
    backbone=dict(init_cfg=None),
    bbox_head=dict(
        _delete_=True, type='mmdet_centernet.CenterNetHead', num_classes=80, in_channels=64,
        feat_channels=64))
"""


@pytest.fixture
def scopes(monkeypatch):
    """No default scope yet, and a third package with registries of its own."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', OrderedDict())
    registries = {
        name: Registry(name.lower(), parent=getattr(mmengine.registry, name), scope=THIRD)
        for name in NAMES}
    yield registries
    for registry in registries.values():
        del registry.parent._children[THIRD]


def enter(scope):
    if scope is not None:
        DefaultScope.get_instance(f'test_{scope}', scope_name=scope)


def test_there_are_registries():
    assert {'MODELS', 'TASK_UTILS', 'TRANSFORMS', 'DATASETS', 'HOOKS', 'VISUALIZERS'} <= {*NAMES}


@pytest.mark.parametrize('name', NAMES)
def test_each_stands_beside_mmdets_below_the_root(name):
    registry = getattr(ours, name)
    assert registry.scope == 'mmdet_centernet'
    assert registry.parent is getattr(mmengine.registry, name)
    assert registry.parent.children['mmdet'] is getattr(mmdet.registry, name)


@pytest.mark.parametrize('scope', [None, 'mmdet', 'mmdet_centernet', 'mmengine', THIRD])
def test_a_whole_model_builds_under_any_default_scope(scopes, scope):
    cfg = Config.fromfile(MODEL).model
    enter(scope)
    for registry in (mmengine.registry.MODELS, scopes['MODELS']):
        model = registry.build(cfg)
        assert type(model).__module__ == 'mmdet_centernet.models.detectors.centernet'
        assert type(model.bbox_head).__module__.startswith('mmdet_centernet.')
        assert type(model.neck).__module__.startswith('mmdet_centernet.')


@pytest.mark.parametrize('scope', [None, 'mmdet', THIRD])
def test_defaults_inside_a_class_know_their_scope(scopes, scope):
    """A head that is given nothing but what it must be: its coder and losses are found."""
    enter(scope)
    head = mmengine.registry.MODELS.build(
        dict(type='mmdet_centernet.CenterNetHead', num_classes=2, in_channels=8,
             feat_channels=8))
    assert type(head).__module__.startswith('mmdet_centernet.')


@pytest.mark.parametrize('scope', [None, 'mmdet', THIRD])
@pytest.mark.parametrize(('name', 'kind'), [
    ('TRANSFORMS', 'CenterAffine'), ('DATASETS', 'CocoDataset'), ('HOOKS', 'CheckLossHook'),
    ('TASK_UTILS', 'CenterCoder')])
def test_everything_else_is_found(scopes, scope, name, kind):
    enter(scope)
    for registry in (getattr(mmengine.registry, name), getattr(mmdet.registry, name),
                     scopes[name]):
        found = registry.get(f'mmdet_centernet.{kind}')
        assert found.__module__.startswith('mmdet_centernet.')


def test_mmdets_own_names_stay_mmdets(scopes):
    """It has a CenterNet, a CenterNetHead and a CTResNetNeck too."""
    ours.MODELS.import_from_location()
    enter('mmdet')
    for name in ('CenterNet', 'CenterNetHead', 'CTResNetNeck'):
        assert mmengine.registry.MODELS.get(f'mmdet.{name}').__module__.startswith('mmdet.')
        assert mmdet.registry.MODELS.get(name).__module__.startswith('mmdet.')


def test_a_config_of_mmdets_with_custom_imports(scopes, tmp_path):
    """mmdet's own CenterNet config, of which one part is replaced by ours."""
    config = tmp_path / 'config.py'
    config.write_text(MMDET_CONFIG)
    cfg = Config.fromfile(config)
    enter(cfg.default_scope)
    model = mmengine.registry.MODELS.build(cfg.model)
    assert type(model).__module__.startswith('mmdet.')
    assert type(model.bbox_head).__module__.startswith('mmdet_centernet.')
