"""Which package may import which, and calls that must appear nowhere; read from the source."""
import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = 'mmdet_centernet'
FOUNDATION = {'errors', 'registry', 'version', 'compat'}
CORE = FOUNDATION | {'ops', 'io'}
# None of these imports another of them.
SIDE_BY_SIDE = {'datasets', 'models', 'evaluation', 'visualization'}
BUILT = CORE | SIDE_BY_SIDE
# Every package and every module at the top -> what of this package it may import, besides itself.
MAY_IMPORT = {
    '__init__': FOUNDATION | {'ops', 'checkpoints'},
    'errors': set(),
    'registry': set(),
    'version': set(),
    'compat': {'errors', 'version'},
    'ops': {'errors'},
    'io': {'errors', 'ops'},
    **dict.fromkeys(SIDE_BY_SIDE, CORE),
    'checkpoints': BUILT,
    'engine': BUILT | {'checkpoints'},
    'runtime': {'errors', 'version', 'io', 'ops'},
    'inference': BUILT | {'checkpoints', 'engine', 'runtime'},
    'analysis': BUILT | {'checkpoints', 'engine', 'inference'},
    'export': BUILT | {'checkpoints', 'engine', 'inference', 'runtime'},
    'cli': BUILT | {'checkpoints', 'engine', 'inference'},
    'apis': {'compat', 'inference'},
}
# The same within a package that has packages of its own; below MAY_IMPORT.
MAY_IMPORT_WITHIN = {
    'models': {
        '__init__': {
            'backbones', 'data_preprocessors', 'dense_heads', 'detectors', 'layers', 'losses',
            'necks', 'properties', 'test_time_augs'},
        'data_preprocessors': set(),
        'layers': set(),
        'properties': set(),
        'losses': {'properties'},
        'backbones': {'layers'},
        'necks': {'layers'},
        'dense_heads': {'layers', 'losses', 'properties'},
        'detectors': {'data_preprocessors', 'dense_heads', 'losses', 'properties'},
        'test_time_augs': {'dense_heads', 'layers'},
    },
}
# Package -> packages of others that it may not import.
MAY_NOT_IMPORT = {
    'errors': {'torch', 'mmcv', 'mmdet', 'mmengine'},
    'version': {'torch', 'mmcv', 'mmdet', 'mmengine'},
    'registry': {'torch', 'mmcv', 'mmdet'},
    'ops': {'mmcv', 'mmdet', 'mmengine'},
    'datasets': {'mmdet.models'},
    'evaluation': {'mmdet.models'},
    'visualization': {'mmdet.models'},
    'runtime': {'torch', 'mmcv', 'mmdet', 'mmengine'},
}
SOURCES = sorted(
    path for folder in (PACKAGE, 'tools', 'configs', 'tests')
    for path in (ROOT / folder).rglob('*.py') if '.mim' not in path.parts)


def imported_names(tree, module):
    """Absolute dotted names of all that is imported, with what ``from`` takes out of it.

    Args:
        tree (ast.AST): the parsed source, of which functions are searched as well.
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
    """Sources of a package or of a single module."""
    place = ROOT / PACKAGE / folder
    return [path for path in SOURCES
            if path.is_relative_to(place) or path == place.with_suffix('.py')]


def units_of(folder):
    """The packages and modules directly in a folder, as in ``MAY_IMPORT``."""
    return {path.relative_to(folder).parts[0].removesuffix('.py') for path in SOURCES
            if path.is_relative_to(folder)}


def file_of(name):
    """The file that an imported name of this package comes from."""
    parts = name.split('.')
    while parts:
        place = ROOT.joinpath(*parts)
        for path in (place.with_suffix('.py'), place / '__init__.py'):
            if path.is_file():
                return path
        parts.pop()
    raise AssertionError(f'{name} is in no file')


def own_imports(path):
    """The files of this package that a file imports, but for the package's own __init__."""
    found = {file_of(name) for name in imports_of(path) if is_inside(name, {PACKAGE})}
    return found - {ROOT / PACKAGE / '__init__.py'}


def faults_of(folder, table):
    """Every import within a folder that its table does not allow."""
    faults = []
    for unit, allowed in table.items():
        place = folder / unit
        for path in SOURCES:
            if not (path.is_relative_to(place) or path == place.with_suffix('.py')):
                continue
            for target in sorted(own_imports(path)):
                if not target.is_relative_to(folder):
                    continue
                other = target.relative_to(folder).parts[0].removesuffix('.py')
                if other not in {unit, '__init__'} | allowed:
                    faults.append(f'{path.relative_to(ROOT)} imports {target.relative_to(ROOT)}')
    return faults


def cycles_of(graph):
    """The groups of nodes that reach one another.

    Args:
        graph (dict[str, set[str]]): node -> its successors.
    """
    reached = {}
    for start in graph:
        seen, waiting = set(), [start]
        while waiting:
            for node in graph.get(waiting.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    waiting.append(node)
        reached[start] = seen
    return {tuple(sorted(other for other in graph if other in reached[node]
                         and node in reached[other]))
            for node in graph if node in reached[node]}


def test_imported_names_resolves_relative_and_nested_imports():
    tree = ast.parse(
        'import mmdet.models\nfrom ...registry import MODELS\nfrom . import x\n'
        'from ..losses.focal import f\ndef g():\n    from numpy import array')
    assert imported_names(tree, [PACKAGE, 'models', 'necks']) == {
        'mmdet.models', f'{PACKAGE}.registry.MODELS', f'{PACKAGE}.models.necks.x',
        f'{PACKAGE}.models.losses.focal.f', 'numpy.array'}


def test_cycles_of_finds_indirect_cycles():
    assert cycles_of(dict(a={'b'}, b={'c'}, c={'b'}, d={'a'})) == {('b', 'c')}
    assert cycles_of(dict(a={'b', 'c'}, b={'c'}, c=set())) == set()


def test_every_package_and_module_is_listed():
    assert units_of(ROOT / PACKAGE) == set(MAY_IMPORT)
    for name, table in MAY_IMPORT_WITHIN.items():
        assert units_of(ROOT / PACKAGE / name) == set(table), name


def test_imports_point_one_way():
    faults = faults_of(ROOT / PACKAGE, MAY_IMPORT)
    for name, table in MAY_IMPORT_WITHIN.items():
        faults += faults_of(ROOT / PACKAGE / name, table)
    assert not faults, '\n'.join(faults)


def test_no_two_packages_import_each_other():
    """Not by way of others either."""
    graph = {}
    for path in sources_of('.'):
        package = path.parent.relative_to(ROOT).as_posix()
        # A module at the top stands for itself.
        unit = path.relative_to(ROOT).as_posix() if package == PACKAGE else package
        targets = {target.relative_to(ROOT).as_posix() if target.parent == ROOT / PACKAGE
                   else target.parent.relative_to(ROOT).as_posix()
                   for target in own_imports(path)}
        graph.setdefault(unit, set()).update(targets - {unit})
    assert not cycles_of(graph)


def test_imports_of_other_packages():
    faults = [
        f'{path.relative_to(ROOT)} imports {name}'
        for folder, packages in MAY_NOT_IMPORT.items() for path in sources_of(folder)
        for name in sorted(imports_of(path)) if is_inside(name, packages)]
    assert not faults, '\n'.join(faults)


def test_runtime_imports_only_what_does_without_torch():
    """Also by way of the modules of this package that it imports."""
    waiting = sources_of('runtime')
    seen = set(waiting)
    faults = []
    while waiting:
        path = waiting.pop()
        faults += [f'{path.relative_to(ROOT)} imports {name}' for name in sorted(imports_of(path))
                   if is_inside(name, MAY_NOT_IMPORT['runtime'])]
        more = own_imports(path) - seen
        more |= {target.with_name('__init__.py') for target in more
                 if target.parent != ROOT / PACKAGE} - seen
        seen |= more
        waiting += more
    assert not faults, '\n'.join(faults)


def test_nothing_but_the_package_itself_knows_the_stand_in():
    users = [
        path for path in sources_of('.')
        if any(is_inside(name, {f'{PACKAGE}.compat.mmcv_ext'}) for name in imports_of(path))]
    assert users == [ROOT / PACKAGE / '__init__.py']


def test_apis_holds_nothing_but_names():
    assert [path.name for path in sources_of('apis')] == ['__init__.py']


def test_the_package_imports_neither_tools_nor_tests():
    # Scripts in one folder import each other by their bare names.
    foreign = {'tools', 'tests'} | {
        path.stem for path in SOURCES if path.relative_to(ROOT).parts[0] in ('tools', 'tests')}
    faults = [f'{path.relative_to(ROOT)} imports {name}' for path in sources_of('.')
              for name in sorted(imports_of(path)) if name.split('.')[0] in foreign]
    assert not faults, '\n'.join(faults)


def test_test_modules_do_not_import_each_other():
    """They share tests/helpers and tests/reference."""
    modules = {path.stem for path in SOURCES
               if path.is_relative_to(ROOT / 'tests') and path.stem.startswith('test_')}
    faults = [f'{path.relative_to(ROOT)} imports {name}' for path in SOURCES
              if path.is_relative_to(ROOT / 'tests') for name in sorted(imports_of(path))
              if set(name.split('.')) & modules]
    assert not faults, '\n'.join(faults)


def test_references_do_not_import_the_package():
    """A reference that calls the code under test would share its errors."""
    folder = ROOT / 'tests/reference'
    users = [path.name for path in SOURCES if path.is_relative_to(folder)
             and any(is_inside(name, {PACKAGE}) for name in imports_of(path))]
    assert not users


def faulty_calls(path):
    """Calls that must appear nowhere: code from checkpoints, and others' registered names."""
    tree = ast.parse(path.read_text())
    foreign = {
        name.rpartition('.')[2] for name in imports_of(path)
        if 'registry' in name.split('.') and not is_inside(name, {PACKAGE})}
    is_ours = PACKAGE in path.parts or 'tools' in path.parts
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        where = f'{path.relative_to(ROOT)}:{node.lineno}'
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if 'weights_only' in keywords:
            value = keywords['weights_only']
            if not (isinstance(value, ast.Constant) and value.value is True):
                yield f'{where}: weights_only is not True, but a checkpoint is data, never code'
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr.startswith('register'):
            if 'force' in keywords:
                yield f'{where} would replace what others registered'
            if is_ours and function.attr == 'register_module' and (
                    ast.unparse(function.value) in foreign):
                yield f"{where} registers into another package's registry"


def test_faulty_calls_finds_each_kind(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), 'ROOT', tmp_path)
    path = tmp_path / 'tools' / 'tool.py'
    path.parent.mkdir()
    path.write_text(
        'from mmdet.registry import MODELS\nload(x, weights_only=False)\nload(weights_only=y)\n'
        'load(weights_only=True)\nHOOKS.register_module(force=True)\nMODELS.register_module()\n')
    assert [fault.partition(' ')[0].rstrip(':') for fault in faulty_calls(path)] == [
        f'tools/tool.py:{line}' for line in (2, 3, 5, 6)]


def test_calls_that_must_appear_nowhere():
    faults = [fault for path in SOURCES for fault in faulty_calls(path)]
    assert not faults, '\n'.join(faults)
