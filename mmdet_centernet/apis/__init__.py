"""What the command-line tools and users' own programs call."""
__all__ = ['CenterNetInferencer']


def __getattr__(name):
    # mmdet is imported when somebody asks for the inferencer: the tools start without it.
    if name == 'CenterNetInferencer':
        from .inferencer import CenterNetInferencer
        return CenterNetInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
