"""What the command-line tools and users' own programs call."""
from mmdet_centernet._versions import check_versions

__all__ = ['CenterNetInferencer', 'ExportedDetector']

# Submodules that need no torch.
_TORCH_FREE = ('exported_detector', 'inputs', 'runtimes')


def __getattr__(name):
    # mmdet is imported when somebody asks for the inferencer: the tools start without it.
    if name == 'ExportedDetector':
        from .exported_detector import ExportedDetector
        return ExportedDetector
    if name not in _TORCH_FREE and not name.startswith('__'):
        # The package imports without torch; everything but the above says here that it is
        # missing, also submodules, which are asked for here before they are imported.
        check_versions()
    if name == 'CenterNetInferencer':
        from .inferencer import CenterNetInferencer
        return CenterNetInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
