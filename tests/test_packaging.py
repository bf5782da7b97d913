"""What a wheel holds, and that building one leaves the source tree as it was."""
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from mmengine import Config
from mmengine.infer import BaseInferencer
from packaging.requirements import Requirement

import mmdet_centernet

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / 'requirements'


def requirements_of(name):
    lines = (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith('#')]


def files_below(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """A copy of the source tree in which a wheel was built, its files before, the wheel."""
    source, target = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('wheel')
    ignore = shutil.ignore_patterns('__pycache__', '.mim')
    for name in ('mmdet_centernet', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'model-index.yml', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    before = files_below(source)
    done = subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation',
         '--wheel-dir', str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, = target.glob('*.whl')
    return source, before, zipfile.ZipFile(wheel)


def test_the_wheel_holds_the_package_and_its_mim_content(built):
    names = set(built[2].namelist())
    for path in (ROOT / 'configs').rglob('*.py'):
        assert f'mmdet_centernet/.mim/{path.relative_to(ROOT).as_posix()}' in names
    assert {'mmdet_centernet/.mim/model-index.yml', 'mmdet_centernet/.mim/configs/metafile.yml',
            'mmdet_centernet/.mim/tools/train.py', 'mmdet_centernet/compat/mmcv_ext.py',
            'mmdet_centernet/ops/boxes.py', 'mmdet_centernet/py.typed',
            'mmdet_centernet/models/detectors/centernet.py'} <= names
    assert not any(name.startswith(('tests/', 'configs/', 'tools/')) for name in names)


def test_building_leaves_no_links_and_copies_in_the_source(built):
    source, before, _ = built
    extra = files_below(source) - before
    assert not [name for name in extra if not name.startswith(('build/', 'mmdet_centernet.egg'))]
    assert not (source / 'mmdet_centernet' / '.mim').exists()


def test_metadata(built):
    name, = (name for name in built[2].namelist() if name.endswith('.dist-info/METADATA'))
    metadata = built[2].read(name).decode()
    assert f'\nVersion: {mmdet_centernet.__version__}\n' in metadata
    assert re.search(r'\nRequires-Python: (<3\.14,>=3\.10|>=3\.10,<3\.14)\n', metadata)
    required = {
        Requirement(line).name for line in re.findall(r'\nRequires-Dist: (.+)', metadata)
        if 'extra' not in line}
    assert required == {requirement.name for requirement in requirements_of('runtime')}
    # mmcv and mmcv-lite overwrite each other, so the choice is the user's.
    assert 'Requires-Dist: mmcv-lite<2.2,>=2.1.0; extra == "mim"' in metadata


def test_an_installed_package_knows_its_configs():
    """In the editable installation through links, in a wheel through copies."""
    mim = Path(mmdet_centernet.__file__).parent / '.mim'
    cfg = Config.fromfile(mim / 'configs' / 'centernet_r18_dcn_140e_coco.py')
    assert cfg.model.type == 'mmdet_centernet.CenterNet'
    # The way of mmengine's inferencers and of MIM.
    models = list(BaseInferencer._get_models_from_metafile(str(mim)))
    assert all((mim / model['Config']).is_file() for model in models)


def test_tested_versions_are_in_the_stated_ranges():
    tested = {}
    for pin in requirements_of('tested'):
        assert str(pin.specifier).startswith('=='), f'{pin} pins nothing'
        tested.setdefault(pin.name, []).append(str(pin.specifier)[2:])
    for name in ('runtime', 'mminstall', 'demo', 'deploy', 'tests', 'lint', 'timm'):
        for requirement in requirements_of(name):
            for version in tested[requirement.name]:
                assert requirement.specifier.contains(version), f'{requirement}: {version}'


def test_no_place_to_download_from_is_written_down():
    for path in (*REQUIREMENTS.glob('*.txt'), ROOT / 'requirements.txt', ROOT / 'setup.py',
                 ROOT / 'Makefile', ROOT / 'pyproject.toml'):
        text = path.read_text()
        assert 'index-url' not in text, path
        assert 'find-links' not in text, path
