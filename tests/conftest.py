"""Fixtures for all tests."""
# Before any test module imports mmdet: without a compiled mmcv, mmdet needs it to.
import mmdet_centernet  # noqa: F401
