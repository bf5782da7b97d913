"""Several cases of one test."""
from contextlib import contextmanager

import pytest


@contextmanager
def case(*values):
    """Name the case in the message of an error inside the block."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:
        raise AssertionError(f'in the case {values}: {error}') from error
