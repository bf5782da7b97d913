"""Fixtures for all tests."""
# Before any test module imports mmdet: without a compiled mmcv, mmdet needs it to.
import mmdet_centernet  # noqa: F401  isort: skip

import gc

import mmengine.config.config
import pytest
from mmengine.visualization import Visualizer

# A Runner has its config laid out nicely half a dozen times, which takes longer than the tests'
# trainings do. What is written is the same Python but for the line breaks.
mmengine.config.config.FormatCode = lambda text, **options: (text, True)


def pytest_collection_finish():
    """MMEngine collects garbage for each data set: spare it all that has been imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_visualizer_of_another_test():
    """A Runner leaves its visualizer behind, and mmdet's hook takes the newest there is."""
    yield
    kinds = [Visualizer]
    for kind in kinds:  # each keeps its own
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()
