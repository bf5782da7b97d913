"""Version checks, which name a wrong package before it causes an obscure failure.

They read installed metadata, which takes milliseconds, and import nothing but cv2.
"""
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

from mmdet_centernet.version import release

MMCV_LITE = 'pip install mmcv-lite==2.1.0'
MMCV_COMPILED = "pip install --no-build-isolation --no-binary mmcv mmcv==2.1.0 'setuptools<81'"


class Wanted(NamedTuple):
    """Package and its range of versions: ``minimum <= version < below``.

    ``requirements/`` states the same ranges; a test compares them.

    Attributes:
        package: name of the distribution.
        minimum: lowest version.
        below: first version that is too new.
        command: command that installs it, pip with the range by default.
    """
    package: str
    minimum: str
    below: str
    command: str = ''

    @property
    def range(self) -> str:
        """Range in pip's syntax."""
        return f'>={self.minimum},<{self.below}'

    @property
    def remedy(self) -> str:
        """Command that installs the package."""
        return self.command or f"pip install '{self.package}{self.range}'"


# torch: weights_only and add_safe_globals with names. mmengine: before 0.10.5 it does not
# import with torch >= 2.5. mmcv: mmdet 3.3 refuses 2.2 and later.
WANTED = (
    Wanted('torch', '2.6', '3'),
    Wanted('numpy', '1.24', '3'),
    Wanted('mmengine', '0.10.5', '1'),
    Wanted('mmdet', '3.3.0', '4'),
)
# Packages that exported models need in addition to a runtime.
RUNTIME = ('numpy', )
WANTED_MMCV = {
    'mmcv-lite': Wanted('mmcv-lite', '2.1.0', '2.2', MMCV_LITE),
    'mmcv': Wanted('mmcv', '2.1.0', '2.2', MMCV_COMPILED),
}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _check(wanted: Wanted) -> None:
    found = _installed(wanted.package)
    if found is None:
        raise ImportError(
            f'mmdet_centernet needs {wanted.package}{wanted.range}, which is not installed: '
            f'run {wanted.remedy}')
    if not release(wanted.minimum) <= release(found) < release(wanted.below):
        age = 'old' if release(found) < release(wanted.minimum) else 'new'
        raise ImportError(
            f'mmdet_centernet needs {wanted.package}{wanted.range}, but {found} is installed, '
            f'which is too {age}: run {wanted.remedy}')


def _check_mmcv() -> None:
    """Check mmcv and mmcv-lite, two distributions of one package in the same folder."""
    found = {name: _installed(name) for name in WANTED_MMCV}
    present = [name for name, number in found.items() if number is not None]
    fix = f'pip uninstall -y mmcv mmcv-lite && {MMCV_LITE}'
    if len(present) == 2 and found['mmcv'] != found['mmcv-lite']:
        raise ImportError(
            f"mmcv {found['mmcv']} and mmcv-lite {found['mmcv-lite']} are both installed and "
            f"have overwritten each other's files: run {fix}")
    for name in present or ['mmcv-lite']:
        _check(WANTED_MMCV[name])
    spec = find_spec('mmcv')
    if spec is None or spec.origin is None:
        raise ImportError(
            f'{" and ".join(present)} {found[present[0]]} is installed, but its files are missing '
            f'(uninstalling mmcv removes those of mmcv-lite, and vice versa): run {fix}')


def _check_cv2() -> None:
    try:
        import cv2  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != 'cv2':
            raise
        raise ImportError(
            'mmdet_centernet needs OpenCV, which is not installed: '
            'run pip install opencv-python-headless') from error
    except ImportError as error:
        if '.so' not in str(error):
            raise
        raise ImportError(
            f'OpenCV cannot be loaded ({error}) without the libraries of a graphical desktop: '
            'run pip uninstall -y opencv-python opencv-python-headless && '
            'pip install opencv-python-headless') from error


def check_runtime_versions() -> None:
    """Check the packages that :class:`mmdet_centernet.apis.ExportedDetector` needs.

    Raises:
        ImportError: see :func:`check_versions`.
    """
    for wanted in WANTED:
        if wanted.package in RUNTIME:
            _check(wanted)
    _check_cv2()


def check_versions() -> None:
    """Check the packages that mmdet_centernet needs.

    Raises:
        ImportError: with the package, the version found, the versions needed and the command
            that installs one of them.
    """
    for wanted in WANTED:
        _check(wanted)
    _check_mmcv()
    _check_cv2()
