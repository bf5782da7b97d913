"""A stand-in for mmcv's compiled module, where none is installed.

``mmcv.ops``, which mmdet imports all over, does nothing without a module ``mmcv._ext``.
mmcv-lite has none. The stand-in gives the operations that plain detection needs a real
implementation and lets every other one raise a sentence, when it is called. A compiled
``mmcv._ext`` is never replaced. Nothing else of the package knows of this file.
"""
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Callable, Iterable, NoReturn, Optional

import torch

from mmdet_centernet.compat.versions import MMCV_COMPILED, MMCV_LITE
from mmdet_centernet.errors import UserError

EXT_NAME = 'mmcv._ext'


def _missing_op(name: str) -> Callable[..., NoReturn]:

    def raise_missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise UserError(
            f"this needs mmcv's compiled operation '{name}', which mmcv-lite does not have: "
            f'use a model that does without it, or, with a C++ compiler, build it '
            f'({MMCV_COMPILED}).')

    raise_missing.__name__ = raise_missing.__qualname__ = name
    return raise_missing


class _StandIn(ModuleType):
    """A module that knows any operation's name; mmcv checks only that the names exist."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        # Not for introspection: `inspect`, `copy`, `pickle` and others probe for these.
        if name.startswith('_'):
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return _missing_op(name)


def _find_compiled() -> Optional[ModuleSpec]:
    """Where a compiled ``mmcv._ext`` lies, without importing anything of mmcv."""
    mmcv = find_spec('mmcv')
    if mmcv is None or mmcv.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(EXT_NAME, mmcv.submodule_search_locations)


def _make_stand_in(operations: Iterable[Callable[..., Any]]) -> ModuleType:
    module = _StandIn(EXT_NAME, __doc__)
    # Without a loader: `mmcv_full_available()` and its like then truly answer no.
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
        ModuleType: the compiled module if there is one, else the stand-in.

    Raises:
        ImportError: a compiled one is there but does not load (mostly: it was built against
            another torch). It is not replaced in silence.
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
            f'build them again ({MMCV_COMPILED} --force-reinstall --no-deps --no-cache-dir) or do '
            f'without them (pip uninstall -y mmcv && {MMCV_LITE}).') from error
