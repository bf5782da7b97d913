"""Every config: it loads, names the right classes, builds, and carries nothing unused."""
import ast
import inspect
import re
from pathlib import Path

import mmdet.registry
import mmengine.registry
import pytest
import yaml
from mmdet.utils import register_all_modules
from mmengine import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner

import mmdet_centernet.registry as ours

CONFIGS = Path(__file__).parents[1] / 'configs'
FINAL = sorted(CONFIGS.glob('*.py'))
ALL = sorted(CONFIGS.rglob('*.py'))
PROMISED = {
    'centernet_r18_dcn_140e_coco', 'centernet_r18_140e_coco', 'centernet_r18_dcn_70e_voc0712',
    'centernet_lite0_140e_coco', 'centernet_lite0_tree_crowns', 'centernet_r18_dcn_tree_crowns'}
# What mmengine reads from a config: the Runner's arguments, the config machinery's own, and
# what tools read.
KNOWN_KEYS = {
    *inspect.signature(Runner).parameters, '_base_', 'custom_imports', 'auto_scale_lr',
    'log_level', 'launcher'}


def registries(module, scope):
    return [
        value for value in vars(module).values()
        if isinstance(value, Registry) and value.scope == scope]


@pytest.fixture(scope='module')
def known():
    """Names that ours, and that mmdet with mmengine and mmcv, have registered."""
    register_all_modules(init_default_scope=False)
    own = registries(ours, ours.SCOPE)
    mmdets = registries(mmdet.registry, 'mmdet')
    everyones = mmdets + registries(mmengine.registry, 'mmengine')
    for registry in own:
        registry.import_from_location()
    return tuple(
        {name for registry in group for name in registry.module_dict}
        for group in (own, mmdets, everyones))


def types_in(node, path=''):
    """Every ``type='...'`` beneath a node of a config, with where it stands."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'type' and isinstance(value, str):
                yield path, value
            else:
                yield from types_in(value, f'{path}.{key}' if path else key)
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from types_in(value, f'{path}[{index}]')


def wrong_types(cfg, known):
    """What is wrong with the types of a config, one line each."""
    own, mmdets, everyones = known
    scopes = dict(mmdet_centernet=own, mmdet=mmdets, mmengine=everyones, mmcv=everyones)
    for path, name in types_in(cfg):
        scope, _, bare = name.rpartition('.')
        if scope:
            if bare not in scopes.get(scope, ()):
                yield f'{path}: there is no {name}'
        elif bare in own:
            yield f"{path}: '{bare}' is also mmdet_centernet's: write the scope that is meant"
        elif bare not in everyones:
            yield f'{path}: there is no {name}'


def test_the_lint_finds_a_forgotten_prefix(known):
    cfg = dict(
        model=dict(type='CenterNet', bbox_head=dict(type='mmdet_centernet.CenterNetHead')),
        pipelines=[[dict(type='mmdet_centernet.CentreAffine')], [dict(type='Resize')]])
    assert list(wrong_types(cfg, known)) == [
        "model: 'CenterNet' is also mmdet_centernet's: write the scope that is meant",
        'pipelines[0][0]: there is no mmdet_centernet.CentreAffine']


def test_what_was_promised_is_there():
    assert {path.stem for path in FINAL} >= PROMISED


@pytest.mark.parametrize('path', FINAL, ids=lambda path: path.stem)
def test_types_exist_and_say_whose_they_are(path, known):
    assert list(wrong_types(Config.fromfile(path).to_dict(), known)) == []


@pytest.mark.parametrize('path', FINAL, ids=lambda path: path.stem)
def test_model_builds(path):
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = mmengine.registry.MODELS.build(cfg.model)
    assert type(model).__module__.startswith('mmdet_centernet.')
    classes = cfg.train_dataloader.dataset.get('dataset', cfg.train_dataloader.dataset).get(
        'metainfo', {}).get('classes')
    if classes is not None:
        assert model.bbox_head.num_classes == len(classes)


@pytest.mark.parametrize('path', FINAL, ids=lambda path: path.stem)
def test_the_plugin_is_imported_and_the_head_says_where_it_is_from(path):
    cfg = Config.fromfile(path)
    assert cfg.default_scope == 'mmdet'
    assert cfg.custom_imports == dict(imports=['mmdet_centernet'], allow_failed_imports=False)
    assert path.read_text().startswith(('#', '"""'))


@pytest.mark.parametrize('path', ALL, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_no_name_is_assigned_in_vain(path):
    """A top-level name is read by mmengine, by the config itself or by one that inherits."""
    tree = ast.parse(path.read_text())
    assigned = {
        target.id for node in tree.body if isinstance(node, ast.Assign)
        for target in node.targets if isinstance(target, ast.Name)}
    used = {
        node.id for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    inherited = {
        name for other in ALL
        for name in re.findall(r'_base_\.(\w+)', other.read_text())}
    assert assigned - KNOWN_KEYS - used - inherited == set()


def test_the_metafile_lists_them_all():
    index = yaml.safe_load((CONFIGS / 'metafile.yml').read_text())
    assert {model['Config'] for model in index['Models']} == {
        f'configs/{path.name}' for path in FINAL}
    assert all(model['Name'] == Path(model['Config']).stem for model in index['Models'])
