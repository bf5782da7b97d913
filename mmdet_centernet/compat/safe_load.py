"""Let torch read mmengine's training checkpoints as data.

A training checkpoint holds, beside tensors, the log's history: ``HistoryBuffer`` objects,
their numpy arrays, and references to HistoryBuffer's statistics methods, which pickle
writes as ``getattr(HistoryBuffer, 'mean')``. ``torch.load`` with ``weights_only=True``, its
default, refuses all of these until they are named as harmless. That is what happens here,
and no more: a checkpoint stays data, it cannot run code.
"""
import pickle
from typing import Any, Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

STATISTICS = {
    name: getattr(HistoryBuffer, name) for name in ('min', 'max', 'mean', 'current')}
NUMPY_SCALARS = '?bBhHiIlLqQefdg'
# The module name is that of the numpy that wrote the file: before 2.0, and since.
MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')


def _statistics_method(owner: Any, name: str, *default: Any) -> Callable[..., Any]:
    """What a checkpoint gets for ``builtins.getattr``: HistoryBuffer's statistics only.

    Raises:
        pickle.UnpicklingError: for anything else.
    """
    if owner is not HistoryBuffer or default or name not in STATISTICS:
        raise pickle.UnpicklingError(
            f'the file asks for getattr({owner!r}, {name!r}), which no training checkpoint '
            'needs: it is refused.')
    return STATISTICS[name]


def allow_training_checkpoints() -> None:
    """Name the types of mmengine's training checkpoints to torch as harmless."""
    array = np.zeros(1)
    reconstruct = array.__reduce__()[0]
    scalar = array[0].__reduce__()[0]
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        (_statistics_method, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *((reconstruct, f'{module}._reconstruct') for module in MULTIARRAY),
        *((scalar, f'{module}.scalar') for module in MULTIARRAY),
        # Since numpy 1.20 a dtype's state is set on an instance of a class of its own.
        *{type(np.dtype(code)) for code in NUMPY_SCALARS},
    ])

