"""A wrong or missing package is named in one sentence, with what mends it."""
import builtins
import importlib.machinery
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from helpers.cases import case

from mmdet_centernet import version
from mmdet_centernet.compat import versions

TESTED = {
    'torch': '2.13.0+cpu', 'numpy': '2.4.6', 'mmengine': '0.10.7', 'mmdet': '3.3.0',
    'mmcv-lite': '2.1.0'}
REQUIREMENTS = Path(__file__).parents[2] / 'requirements'


@pytest.fixture
def installed(monkeypatch):
    """What importlib.metadata finds; a test changes it."""
    packages = dict(TESTED)

    def version(name):
        if name not in packages:
            raise PackageNotFoundError(name)
        return packages[name]

    monkeypatch.setattr(versions, 'version', version)
    return packages


def complaint():
    with pytest.raises(ImportError) as caught:
        versions.check_versions()
    sentence = str(caught.value)
    assert '\n' not in sentence
    return sentence


@pytest.mark.parametrize('changes', [
    {},
    {'torch': '2.14.1', 'numpy': '1.26.4'},
    {'torch': '2.15.0a0+git1234'},
    {'mmdet': '3.3'},
])
def test_good_versions_pass(installed, changes):
    installed.update(changes)
    versions.check_versions()


def test_exported_models_need_numpy_and_cv2_alone(installed):
    for package in set(TESTED) - {'numpy'}:
        del installed[package]
    versions.check_runtime_versions()
    installed['numpy'] = '1.23.5'
    with pytest.raises(ImportError, match=r"1\.23\.5 is installed, .* 'numpy>=1\.24,<3'"):
        versions.check_runtime_versions()


def test_a_compiled_mmcv_passes_alone_and_beside_mmcv_lite(installed):
    installed['mmcv'] = '2.1.0'
    versions.check_versions()
    del installed['mmcv-lite']
    versions.check_versions()


@pytest.mark.parametrize(('package', 'found', 'age', 'command'), [
    ('torch', '2.5.1+cu121', 'old', "pip install 'torch>=2.6,<3'"),
    ('torch', '3.0.0', 'new', "pip install 'torch>=2.6,<3'"),
    ('numpy', '1.23.5', 'old', "pip install 'numpy>=1.24,<3'"),
    ('mmengine', '0.10.4', 'old', "pip install 'mmengine>=0.10.5,<1'"),
    ('mmdet', '2.28.2', 'old', "pip install 'mmdet>=3.3.0,<4'"),
    ('mmdet', '4.0', 'new', "pip install 'mmdet>=3.3.0,<4'"),
    ('mmcv-lite', '2.2.0', 'new', 'pip install mmcv-lite==2.1.0'),
    ('mmcv-lite', '1.7.2', 'old', 'pip install mmcv-lite==2.1.0'),
])
def test_wrong_versions(installed, package, found, age, command):
    installed[package] = found
    sentence = complaint()
    assert package in sentence
    assert f'{found} is installed, which is too {age}' in sentence
    assert sentence.endswith(command)


def test_a_compiled_mmcv_of_the_wrong_version(installed):
    del installed['mmcv-lite']
    installed['mmcv'] = '2.2.0'
    sentence = complaint()
    assert 'mmcv>=2.1.0,<2.2' in sentence
    assert '--no-build-isolation --no-binary mmcv mmcv==2.1.0' in sentence


@pytest.mark.parametrize('package', TESTED)
def test_missing_packages(installed, package):
    del installed[package]
    sentence = complaint()
    assert f'{package}>=' in sentence
    assert 'not installed: run pip install' in sentence


def test_two_different_mmcvs(installed):
    installed['mmcv'] = '2.0.1'
    sentence = complaint()
    assert 'mmcv 2.0.1 and mmcv-lite 2.1.0 are both installed' in sentence
    assert 'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0' in sentence


def test_mmcv_whose_files_are_gone(installed, monkeypatch):
    # What uninstalling the other one leaves: a folder of caches, which is a namespace package.
    for spec in (None, importlib.machinery.ModuleSpec('mmcv', None, is_package=True)):
        monkeypatch.setattr(versions, 'find_spec', lambda name, spec=spec: spec)
        assert 'its files are missing' in complaint()


@pytest.mark.parametrize(('error', 'expected'), [
    (ImportError('libGL.so.1: cannot open shared object file: No such file or directory'),
     'pip uninstall -y opencv-python opencv-python-headless && '
     'pip install opencv-python-headless'),
    (ModuleNotFoundError("No module named 'cv2'", name='cv2'),
     'pip install opencv-python-headless'),
    (ImportError('numpy.core.multiarray failed to import'), 'numpy.core.multiarray'),
    (ModuleNotFoundError("No module named 'numpy.x'", name='numpy.x'), 'numpy.x'),
])
def test_cv2_that_cannot_be_loaded(installed, monkeypatch, error, expected):
    original = builtins.__import__

    def import_module(name, *args, **kwargs):
        if name == 'cv2':
            raise error
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', import_module)
    sentence = complaint()
    assert expected in sentence
    if 'libGL' in str(error):
        assert 'libGL.so.1' in sentence


def test_release():
    for text, release in [
        ('2.13.0+cpu', (2, 13)), ('0.10.7', (0, 10, 7)), ('3', (3, )), ('2.0.0rc4', (2, )),
        ('unknown', ()),
    ]:
        with case(text, release):
            assert version.release(text) == release


def test_requirements_state_the_same_ranges():
    stated = set()
    for name in ('runtime', 'mminstall'):
        lines = (REQUIREMENTS / f'{name}.txt').read_text().splitlines()
        stated |= {line for line in lines if line and not line.startswith('#')}
    wanted = (*versions.WANTED, versions.WANTED_MMCV['mmcv-lite'])
    assert stated == {package.package + package.range for package in wanted}
