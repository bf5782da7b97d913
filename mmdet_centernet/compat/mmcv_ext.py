"""Stand-in for mmcv's compiled module, if none is installed.

mmdet imports ``mmcv.ops`` in many places, which fails without a module ``mmcv._ext``, and
mmcv-lite does not have one. The stand-in implements the operations that plain detection needs;
every other operation raises an error when it is called. A compiled ``mmcv._ext`` is never
replaced. No other module of the package refers to this file.
"""
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NoReturn

import torch

from mmdet_centernet.compat.versions import MMCV_COMPILED, MMCV_LITE
from mmdet_centernet.errors import UserError

EXT_NAME = 'mmcv._ext'


def _missing_op(name: str) -> Callable[..., NoReturn]:

    def raise_missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise UserError(
            f"this needs mmcv's compiled operation '{name}', which mmcv-lite does not have: "
            'use a model that does not need it, or, with a C++ compiler, build it '
            f'({MMCV_COMPILED}).')

    raise_missing.__name__ = raise_missing.__qualname__ = name
    return raise_missing


class _StandIn(ModuleType):
    """Module that has every operation's name; mmcv checks only that the names exist."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        # `inspect`, `copy`, `pickle` and others probe for such names.
        if name.startswith('_'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return _missing_op(name)


def _find_compiled() -> ModuleSpec | None:
    """Find a compiled ``mmcv._ext`` without importing mmcv."""
    mmcv = find_spec('mmcv')
    if mmcv is None or mmcv.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(EXT_NAME, mmcv.submodule_search_locations)


def _make_stand_in(operations: Iterable[Callable[..., Any]]) -> ModuleType:
    module = _StandIn(EXT_NAME, __doc__)
    # Without a loader, `mmcv_full_available()` and similar functions correctly return False.
    module.__spec__ = ModuleSpec(EXT_NAME, loader=None, origin='mmdet_centernet')
    for function in operations:
        setattr(module, function.__name__, function)
    return module


def ensure_mmcv_ext(operations: Iterable[Callable[..., Any]]) -> ModuleType:
    """Make ``mmcv._ext`` importable.

    Args:
        operations (Iterable[Callable]): the functions of the stand-in, with mmcv's names and
            signatures; every other operation raises an error when it is called.

    Returns:
        ModuleType: the compiled module if there is one, otherwise the stand-in.

    Raises:
        ImportError: if there is a compiled module that does not load (usually because it was
            built against another torch). It is not silently replaced.
    """
    if EXT_NAME in sys.modules:
        return sys.modules[EXT_NAME]
    compiled = _find_compiled()
    if compiled is None:
        return sys.modules.setdefault(EXT_NAME, _make_stand_in(operations))
    try:
        return import_module(EXT_NAME)
    except (ImportError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ImportError(
            f"mmcv's compiled operations ({compiled.origin}) do not load with torch "
            f'{torch.__version__} ({reason}): they were probably built against another torch; '
            f'build them again ({MMCV_COMPILED} --force-reinstall --no-deps --no-cache-dir) or '
            f'remove them (pip uninstall -y mmcv && {MMCV_LITE}).') from error
