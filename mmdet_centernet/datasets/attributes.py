"""Named attributes of objects: their description in metainfo, and their values in annotations.

An annotation has them in its dictionary ``attributes``, as CVAT writes it:
``{"ripeness": "ripe", "occluded": false, "age": 3.5}``.
"""
import contextlib
import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from mmdet_centernet.datasets.checks import is_number, list_names
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.attributes import KINDS, Attribute

# What CVAT writes where nobody has chosen a value.
UNDEFINED = '__undefined__'
FORMS = (
    "write name=['green', 'ripe'] for one of several values, "
    "name=dict(kind='multi_label', values=['wet', 'large']) for any of them, or name='number'")

#: The value of an object's attribute: index of a class or number, or 0 and 1 for each label.
Value = float | list[float]


def parse_attributes(given: object) -> dict[str, Attribute]:
    """Check and complete ``metainfo.attributes``.

    Args:
        given (dict): by the attribute's name: ``dict(kind='class', values=[...])``, one of these
            values; ``dict(kind='multi_label', values=[...])``, any of them; or
            ``dict(kind='number')``. A list of values is short for a class, and ``'number'`` for a
            number. Values are texts, numbers, or True and False.

    Returns:
        dict[str, dict]: ``kind`` and, unless it is a number, ``values`` (list of str) of each.

    Raises:
        UserError: naming the attribute, what is wrong and what can be written.
    """
    if not isinstance(given, Mapping):
        raise UserError(f'metainfo.attributes = {given!r} is not a dictionary of attributes by '
                        f'name: {FORMS}')
    return {name: _parse(name, attribute) for name, attribute in given.items()}


def _parse(name: object, given: object) -> Attribute:
    """Check and complete the description of one attribute."""
    if not isinstance(name, str) or not name or '.' in name:
        raise UserError(f'metainfo.attributes has the name {name!r}: a name is a text that is not '
                        'empty and has no dot')
    where = f'metainfo.attributes[{name!r}]'
    if isinstance(given, (list, tuple)):
        given = dict(kind='class', values=given)
    elif isinstance(given, str):
        given = dict(kind=given)
    elif not isinstance(given, Mapping):
        raise UserError(f'{where} = {given!r} does not describe an attribute: {FORMS}')
    for key in given:
        if key not in ('kind', 'values'):
            raise UserError(f"{where} has the key {key!r}, but takes 'kind' and 'values'"
                            f'{did_you_mean(key, ("kind", "values"))}')
    kind, values = given.get('kind', 'class'), given.get('values')
    if kind not in KINDS:
        raise UserError(f'{where} is of kind {kind!r}, which is not one of {list_names(KINDS)}'
                        f'{did_you_mean(kind, KINDS)}')
    if kind == 'number':
        if values is not None:
            raise UserError(f"{where} is a number, so it has no values: leave 'values' out, or "
                            "set kind='class'")
        return dict(kind=kind)
    least = 2 if kind == 'class' else 1
    if not isinstance(values, (list, tuple)) or len(values) < least:
        raise UserError(f'{where} of kind {kind!r} has the values {values!r}, but needs a list of '
                        f'at least {least}: {FORMS}')
    keys = [_text(value) for value in values]
    for value, key in zip(values, keys, strict=True):
        if not key:
            raise UserError(f'{where} has the value {value!r}: values are texts that are not '
                            'empty, numbers, or True and False')
        if keys.count(key) > 1:
            raise UserError(f'{where} lists the value {value!r} twice')
    return dict(kind=kind, values=keys)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``": did you mean 'ripe'?"`` if a known name is similar, else an empty text."""
    similar = difflib.get_close_matches(str(name), list(known), n=1)
    return f': did you mean {similar[0]!r}?' if similar else ''


def read_attributes(
    annotations: list[dict[str, Any]],
    attributes: Mapping[str, Attribute],
    ann_file: str,
    required: bool,
) -> None:
    """Replace the ``attributes`` of annotations by values as the model learns them.

    Args:
        annotations (list[dict]): with ``id`` and, if they have any, ``attributes``. Each gets
            ``attributes`` with a value for every attribute of the data set: the index of the
            class, a list of 0 and 1 for several labels, or the number; NaN where it is missing
            (no entry, null, NaN, CVAT's ``"__undefined__"``, or, but for labels, an empty text).
        attributes (Mapping[str, dict]): of :func:`parse_attributes`. Others are left out.
        ann_file (str): the file, for error messages.
        required (bool): every attribute must occur in some annotation.

    Raises:
        UserError: naming file and annotation, for a value that is unknown or of the wrong type,
            and naming the attributes in the file, for one that no annotation has.
    """
    seen: dict[str, None] = {}  # in the order of the file
    for annotation in annotations:
        given = annotation.get('attributes')
        where = f'{ann_file}: annotation {annotation["id"]} has'
        if given is None:
            given = {}
        elif not isinstance(given, dict):
            raise UserError(f'{where} attributes = {given!r}, which is not a dictionary of values '
                            'by name. Correct the annotation.')
        seen.update(dict.fromkeys(given))
        values = {}
        for name, attribute in attributes.items():
            try:
                values[name] = _read(given.get(name), attribute)
            except ValueError as error:
                raise UserError(f'{where} {name} = {given[name]!r}: {error}') from None
        annotation['attributes'] = values
    for name in attributes:
        if required and annotations and name not in seen:
            there = f'The attributes there are {list_names(seen)}' if seen else (
                'None has attributes')
            raise UserError(
                f'{ann_file}: no annotation has the attribute {name!r} of metainfo.attributes. '
                f'{there}{did_you_mean(name, seen) or "."} Correct metainfo.attributes or the '
                'file.')


def _read(given: object, attribute: Attribute) -> Value:
    """Return the value of one attribute of one annotation.

    Raises:
        ValueError: with what is wrong and what to do.
    """
    kind = attribute['kind']
    missing = given is None or given == UNDEFINED or given != given
    if kind == 'number':
        return math.nan if missing or given == '' else _number(given)
    names = attribute['values']
    if kind == 'class':
        return math.nan if missing or given == '' else float(_index(given, names))
    if missing:
        return [math.nan] * len(names)
    labels = given if isinstance(given, (list, tuple)) else [given]
    if isinstance(given, str) and given.strip() not in names:
        labels = [label.strip() for label in given.split(',') if label.strip()]
    chosen = {_index(label, names) for label in labels}
    return [float(index in chosen) for index in range(len(names))]


def _number(given: object) -> float:
    """Return a finite number, which may be written as text."""
    number = math.nan
    if isinstance(given, (int, float, str)) and not isinstance(given, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(given)
    if not math.isfinite(number):
        raise ValueError(f'{given!r} is not a finite number. Correct the annotation.')
    return number


def _index(given: object, names: list[str]) -> int:
    """Return the index of a value in the names of all."""
    text = _text(given)
    if text not in names:
        raise ValueError(
            f'{given!r} is not one of {list_names(names)}{did_you_mean(text, names) or "."} '
            'Correct the annotation, or add the value to metainfo.attributes.')
    return names.index(text)


def _text(value: object) -> str:
    """Return a value as text, the same for ``true``, ``True`` and ``"True"``, and for 2 and 2.0.

    It is empty for what is not a value.
    """
    if isinstance(value, bool) or (
            isinstance(value, str) and value.strip().lower() in ('true', 'false')):
        return str(value).strip().lower()
    if isinstance(value, str):
        return value.strip()
    return f'{value:.15g}' if is_number(value) else ''


def count_known(instances: Iterable[dict[str, Any]], name: str) -> int:
    """Count the instances of which an attribute is known."""
    return sum(not np.isnan(instance['attributes'][name]).any() for instance in instances)
