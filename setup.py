"""Packaging: all metadata is here; ``pyproject.toml`` configures the tools."""
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmdet_centernet'
# What MIM, and mmengine's get_config and get_model, look for in `<package>/.mim`.
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


def read_version():
    """The version, without importing the package and what it needs."""
    return re.search(r"__version__ = '(.+)'", (ROOT / PACKAGE / 'version.py').read_text())[1]


def read_requirements(name):
    """The requirements of one file in ``requirements/``, comments left out."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith('#')]


class BuildWithMim(build_py):
    """Put configs and tools into the package, as ``.mim``.

    A wheel gets copies, made in the build folder. An editable install has no other place
    than the source tree: there they are links, which git ignores.
    """

    def run(self):
        super().run()
        editable = getattr(self, 'editable_mode', False)
        target = (ROOT if editable else Path(self.build_lib).resolve()) / PACKAGE / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM_CONTENT:
            if editable:
                (target / name).symlink_to(Path('..', '..', name))
            elif (ROOT / name).is_dir():
                shutil.copytree(
                    ROOT / name, target / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(ROOT / name, target / name)


EXTRAS = {
    'mim': read_requirements('mminstall'),
    'demo': read_requirements('demo'),
    'deploy': read_requirements('deploy'),
    'tests': read_requirements('tests'),
    'lint': read_requirements('lint'),
}

# Not part of `all`: pip may choose a torchvision for it that does not fit a CPU build of torch.
TIMM = {'timm': read_requirements('timm')}

setup(
    name='mmdet-centernet',
    version=read_version(),
    description='CenterNet, "Objects as Points" (arXiv:1904.07850), for MMDetection 3.x',
    long_description=(ROOT / 'README.md').read_text() if (ROOT / 'README.md').is_file() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    keywords='computer vision, object detection, CenterNet, MMDetection',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    packages=find_packages(include=[PACKAGE, f'{PACKAGE}.*']),
    package_data={PACKAGE: ['py.typed']},
    python_requires='>=3.10,<3.14',
    install_requires=read_requirements('runtime'),
    extras_require={**EXTRAS, **TIMM, 'all': sorted(sum(EXTRAS.values(), []))},
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False)
