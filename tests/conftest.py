"""Fixtures for all tests."""
# Before any test module imports mmdet: without a compiled mmcv, mmdet needs it to.
import mmdet_centernet  # noqa: F401  isort: skip

import pytest
from mmengine.visualization import Visualizer


@pytest.fixture(autouse=True)
def no_visualizer_of_another_test():
    """A Runner leaves its visualizer behind, and mmdet's hook takes the newest there is."""
    yield
    kinds = [Visualizer]
    for kind in kinds:  # each keeps its own
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()
