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


def stack_attributes(
    instances: list[dict[str, Any]], attributes: Mapping[str, Attribute]
) -> NDArray[np.float32]:
    """Return the annotated attributes of N instances side by side, float32 [N, columns].

    A class and a number have one column, several labels one for each.

    Args:
        instances (list[dict]): each has ``attributes``: by name the index of the class, a list of
            0 and 1 for several labels, or the number; NaN where missing.
        attributes (Mapping[str, dict]): ``metainfo['attributes']`` of the data set.
    """
    columns = [_columns(attribute) for attribute in attributes.values()]
    rows = np.empty((len(instances), sum(columns)), np.float32)
    for row, instance in zip(rows, instances, strict=True):
        row[:] = np.hstack([instance['attributes'][name] for name in attributes])
    return rows


def split_attributes(rows: Any, attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """Return the attributes of :func:`stack_attributes` by name, [N], or [N, V] for V labels.

    ``rows`` is an array or a tensor, and so are they.
    """
    values, start = {}, 0
    for name, attribute in attributes.items():
        end = start + _columns(attribute)
        several = attribute['kind'] == 'multi_label'
        values[name] = rows[:, start:end] if several else rows[:, start]
        start = end
    return values


def _columns(attribute: Attribute) -> int:
    """Return the number of columns of an attribute."""
    return len(attribute['values']) if attribute['kind'] == 'multi_label' else 1


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
