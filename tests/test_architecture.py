"""What may import what, and calls that must appear nowhere; read from the source."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = 'mmdet_centernet'
SHARED = {'errors', 'ops', 'registry'}
# Folder of the package -> what of the package it may import, itself included.
MAY_IMPORT = {
    'ops': {'errors', 'ops'},
    'models/data_preprocessors': SHARED | {'models.data_preprocessors'},
    'models/losses': SHARED | {'models.losses'},
    'models/task_modules': SHARED | {'models.task_modules'},
    'models/layers': SHARED | {'models.layers'},
    'models/backbones': SHARED | {'models.backbones', 'models.layers'},
    'models/necks': SHARED | {'models.necks', 'models.layers'},
    'models/dense_heads': SHARED | {
        'models.dense_heads', 'models.layers', 'models.losses', 'models.task_modules'},
    'models/detectors': SHARED | {'models'},
    'models/test_time_augs': SHARED | {'models'},
    'datasets': SHARED | {'datasets', 'image_file', 'kitti_files'},
    # KITTI's files are read as data and as results.
    'evaluation': SHARED | {'evaluation', 'kitti_files'},
    'visualization': SHARED | {'visualization'},
    'hooks': SHARED | {'apis', 'hooks', 'visualization'},
}
# Folder -> packages of others that it may not import.
MAY_NOT_IMPORT = {
    'ops': {'mmcv', 'mmdet', 'mmengine'},
    'datasets': {'mmdet.models'},
    'evaluation': {'mmdet.models'},
    'visualization': {'mmdet.models'},
}
SOURCES = sorted(
    path for folder in (PACKAGE, 'tools', 'configs', 'tests')
    for path in (ROOT / folder).rglob('*.py') if '.mim' not in path.parts)


def imported_names(tree, module):
    """Absolute dotted names of all that is imported, with what ``from`` takes out of it.

    Args:
        tree (ast.AST): the parsed source.
        module (list[str]): the parts of the package that the source lies in.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = module[:len(module) - node.level + 1] if node.level else []
            origin = '.'.join([*base, *([node.module] if node.module else [])])
            names |= {f'{origin}.{alias.name}' for alias in node.names}
    return names


def imports_of(path):
    module = list(path.relative_to(ROOT).parent.parts)
    return imported_names(ast.parse(path.read_text()), module)


def is_inside(name, packages):
    return any(name == package or name.startswith(f'{package}.') for package in packages)


def sources_of(folder):
    return [path for path in SOURCES if path.is_relative_to(ROOT / PACKAGE / folder)]


def test_names_are_resolved():
    tree = ast.parse(
        'import mmdet.models\nfrom ...registry import MODELS\nfrom . import x\n'
        'from ..losses.focal import f\ndef g():\n    from numpy import array')
    assert imported_names(tree, [PACKAGE, 'models', 'necks']) == {
        'mmdet.models', f'{PACKAGE}.registry.MODELS', f'{PACKAGE}.models.necks.x',
        f'{PACKAGE}.models.losses.focal.f', 'numpy.array'}


@pytest.mark.parametrize('folder', MAY_IMPORT)
def test_imports_point_one_way(folder):
    allowed = {f'{PACKAGE}.{name}' for name in MAY_IMPORT[folder]}
    for path in sources_of(folder):
        own = {name for name in imports_of(path) if is_inside(name, {PACKAGE})}
        wrong = {name for name in own if not is_inside(name, allowed)}
        assert not wrong, f'{path.relative_to(ROOT)} imports {sorted(wrong)}'


@pytest.mark.parametrize('folder', MAY_NOT_IMPORT)
def test_imports_of_other_packages(folder):
    for path in sources_of(folder):
        wrong = {name for name in imports_of(path) if is_inside(name, MAY_NOT_IMPORT[folder])}
        assert not wrong, f'{path.relative_to(ROOT)} imports {sorted(wrong)}'


def test_the_registry_knows_mmengine_only():
    names = imports_of(ROOT / PACKAGE / 'registry.py')
    assert all(is_inside(name, {'mmengine'}) for name in names)


def test_nothing_but_the_package_itself_knows_the_stand_in():
    users = [
        path for path in sources_of('.')
        if any(is_inside(name, {f'{PACKAGE}._mmcv_ext'}) for name in imports_of(path))]
    assert users == [ROOT / PACKAGE / '__init__.py']


def test_the_package_imports_neither_tools_nor_tests():
    for path in sources_of('.'):
        assert not any(is_inside(name, {'tools', 'tests'}) for name in imports_of(path)), path


@pytest.mark.parametrize('path', SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_calls_that_must_appear_nowhere(path):
    tree = ast.parse(path.read_text())
    foreign = {
        name.rpartition('.')[2] for name in imports_of(path)
        if 'registry' in name.split('.') and not is_inside(name, {PACKAGE})}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        where = f'{path.relative_to(ROOT)}:{node.lineno}'
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if 'weights_only' in keywords:
            value = keywords['weights_only']
            assert isinstance(value, ast.Constant), where
            assert value.value is True, f'{where}: a checkpoint is data, never code'
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr.startswith('register'):
            assert 'force' not in keywords, f'{where} would replace what others registered'
            is_ours = PACKAGE in path.parts or 'tools' in path.parts
            if is_ours and function.attr == 'register_module':
                assert ast.unparse(function.value) not in foreign, (
                    f"{where} registers into another package's registry")
