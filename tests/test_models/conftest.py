"""Fixtures for tests of models."""
import pytest
from mmengine.registry import DefaultScope


@pytest.fixture
def mmdet_scope():
    """Build configs as MMDetection's runner does, with its scope as the default one."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield
