"""The public names, imported when they are asked for."""
from typing import Any

from mmdet_centernet.compat.versions import check_versions

__all__ = ['CenterNetInferencer', 'ExportedDetector']


def __getattr__(name: str) -> Any:
    # mmdet is imported when somebody asks for the inferencer: the tools start without it.
    if name == 'ExportedDetector':
        from mmdet_centernet.inference.exported_detector import ExportedDetector
        return ExportedDetector
    if not name.startswith('__'):
        # The package imports without torch; whatever else is asked for says here that it is
        # missing.
        check_versions()
    if name == 'CenterNetInferencer':
        from mmdet_centernet.inference.inferencer import CenterNetInferencer
        return CenterNetInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
