"""Named attributes of objects: their kinds, and the names of predicted values (numpy only)."""
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ('class', 'multi_label', 'number')
# Labels of a multi-label attribute that are more probable than this are an object's.
LABEL_THRESHOLD = 0.5
_PREFIX = 'attribute_'

#: One attribute of a data set: ``kind``, and the names of its ``values`` unless it is a number.
Attribute = dict[str, Any]


def field_of(name: str) -> str:
    """Return the field of instances that holds an attribute, such as ``'attribute_age'``."""
    return f'{_PREFIX}{name}'


def name_attributes(
    fields: Mapping[str, NDArray[Any]], attributes: Mapping[str, Attribute]
) -> list[dict[str, dict[str, Any]]]:
    """Name the values of objects' attributes.

    Args:
        fields (Mapping[str, ndarray]): fields of n objects. Those of attributes are predicted
            (``attribute_<name>``: probabilities [n, V], or numbers [n]) or annotated (indices of
            values [n], 0 and 1 [n, V], or numbers [n]; NaN where missing).
        attributes (Mapping[str, dict]): ``metainfo['attributes']`` of the data set: ``kind`` and
            the names of ``values`` by the name of the attribute. Without names, values are
            numbered from 0.

    Returns:
        list[dict]: for each object, by attribute: ``dict(value='ripe', score=0.93)`` for a class;
        ``dict(value=['wet', 'large'], score=[0.9, 0.6])`` for several labels, those that are more
        probable than 0.5; ``dict(value=3.4)`` for a number. All of it is plain Python data.
        An annotated class has no score, and an attribute that is missing is left out.
    """
    count = len(next(iter(fields.values()), ()))
    named: list[dict[str, dict[str, Any]]] = [{} for _ in range(count)]
    for name, attribute in attributes.items():
        field = fields.get(field_of(name))
        if field is None:
            continue
        field = np.asarray(field, np.float64)
        known = np.isfinite(field) if field.ndim == 1 else np.isfinite(field).all(axis=1)
        for each, row in zip(np.flatnonzero(known), field[known], strict=True):
            named[each][name] = _named(row, attribute)
    return named


def _named(row: NDArray[np.float64], attribute: Attribute) -> dict[str, Any]:
    """Return the value of one object's attribute, and its score if there is one."""
    if attribute['kind'] == 'number':
        return dict(value=float(row))
    names = attribute.get('values')
    if attribute['kind'] == 'multi_label':
        chosen = np.flatnonzero(row > LABEL_THRESHOLD).tolist()
        return dict(value=[names[index] if names else index for index in chosen],
                    score=row[chosen].tolist())
    best = int(row.argmax()) if row.ndim else int(row)
    value = dict(value=names[best] if names else best)
    return dict(value, score=float(row[best])) if row.ndim else value
