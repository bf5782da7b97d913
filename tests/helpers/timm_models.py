"""Import of timm where torchvision, which it imports but does not compute with, is missing."""
import importlib
import importlib.abc
import importlib.machinery
import sys
from contextlib import contextmanager
from types import ModuleType


class _Named(type):
    """Type of classes that have every member of an enumeration asked for."""

    def __getattr__(cls, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return name


class _Module(ModuleType):
    """Module that has every class asked for."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        value = _Named(name, (), {})
        setattr(self, name, value)
        return value


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finder of empty modules below torchvision."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split('.')[0] != 'torchvision' or 'feature_extraction' in fullname:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return _Module(spec.name)

    def exec_module(self, module):
        pass


@contextmanager
def _without_torchvision():
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]


def import_timm():
    """Import timm and return it, or None where it is not installed."""
    if importlib.util.find_spec('timm') is None:
        return None
    try:
        return importlib.import_module('timm')
    except (ImportError, RuntimeError):  # RuntimeError: torchvision was built for another torch
        for name in [name for name in sys.modules
                     if name.split('.')[0] in ('timm', 'torchvision')]:
            del sys.modules[name]
    with _without_torchvision():
        return importlib.import_module('timm')
