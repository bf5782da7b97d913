"""Allow-list that lets torch read mmengine's training checkpoints as data.

In addition to tensors, a training checkpoint holds the history of the log: ``HistoryBuffer``
objects, their numpy arrays, and references to HistoryBuffer's statistics methods, which pickle
writes as ``getattr(HistoryBuffer, 'mean')``. ``torch.load`` with ``weights_only=True``, its
default, refuses all of these until they are declared harmless. This module does nothing else:
a checkpoint stays data and cannot run code.
"""
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

STATISTICS: dict[str, Callable[..., Any]] = {
    name: getattr(HistoryBuffer, name) for name in ('min', 'max', 'mean', 'current')}
NUMPY_SCALARS = '?bBhHiIlLqQefdg'
# The name depends on the numpy that wrote the file: before 2.0, and since then.
MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')


def _statistics_method(owner: Any, name: str, *default: Any) -> Callable[..., Any]:
    """Replace ``builtins.getattr`` in a checkpoint; it returns HistoryBuffer's statistics only.

    Raises:
        pickle.UnpicklingError: for any other object or name.
    """
    if owner is not HistoryBuffer or default or name not in STATISTICS:
        raise pickle.UnpicklingError(
            f'the file calls getattr({owner!r}, {name!r}), which is refused because no training '
            'checkpoint needs it.')
    return STATISTICS[name]


def allow_training_checkpoints() -> None:
    """Declare the types in mmengine's training checkpoints harmless to torch."""
    array = np.zeros(1)
    reconstruct: Any = array.__reduce__()[0]
    scalar: Any = array[0].__reduce__()[0]
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        (_statistics_method, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *((reconstruct, f'{module}._reconstruct') for module in MULTIARRAY),
        *((scalar, f'{module}.scalar') for module in MULTIARRAY),
        # Since numpy 1.20 every dtype has its own class.
        *{type(np.dtype(code)) for code in NUMPY_SCALARS},
    ])

