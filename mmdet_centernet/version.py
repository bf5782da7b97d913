"""Version of the package."""
import re

__version__ = '0.1.0'


def release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version without trailing zeros, for comparisons.

    >>> release('2.13.0+cpu')
    (2, 13)
    """
    numbers = re.match(r'\d+(\.\d+)*', text)
    parts = [int(part) for part in numbers[0].split('.')] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
