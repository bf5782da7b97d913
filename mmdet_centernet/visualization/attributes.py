"""Attributes of objects as text."""
from collections.abc import Mapping
from typing import Any

_SMALL = 1000  # larger numbers are written without decimals


def attribute_lines(named: Mapping[str, Mapping[str, Any]], with_scores: bool = True) -> list[str]:
    """Return one line for each attribute of an object, such as ``['ripe .93', 'age 3.4']``.

    A value that is a word stands alone. Numbers, labels and "true" and "false" stand behind the
    attribute's name.

    Args:
        named (Mapping[str, dict]): the attributes of one object, of :func:`name_attributes`.
        with_scores (bool): write probabilities behind values, where there are some.
    """
    lines = []
    for name, each in named.items():
        values, scores = each['value'], each.get('score')
        several = isinstance(values, list)
        if not several:
            values, scores = [values], None if scores is None else [scores]
        if not with_scores or scores is None:
            texts = [_text(value) for value in values]
        else:
            texts = [f'{_text(value)} {score_text(score)}'
                     for value, score in zip(values, scores, strict=True)]
        line = ', '.join(texts) or '-'
        lines.append(f'{name} {line}' if several or not _is_word(values[0]) else line)
    return lines


def score_text(score: float) -> str:
    """Return a probability as text, such as ``'.93'``."""
    return f'{score:.2f}'.removeprefix('0')


def _text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f'{value:.3g}' if abs(value) < _SMALL else f'{value:.0f}'


def _is_word(value: str | float) -> bool:
    """Return whether a value says something without the attribute's name."""
    return isinstance(value, str) and value not in ('true', 'false') and not value[0].isdigit()
