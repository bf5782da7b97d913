"""Changes of how a config is tested."""
from mmengine.config import Config

from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.resolution import RESOLUTIONS, set_resolution
from mmdet_centernet.inference.tta import TTA_CHOICES, use_tta


def apply_test_options(
    config: Config, resolution: str | None = None, tta: str | None = None
) -> None:
    """Change how a config is tested, in place.

    Args:
        config (Config): its ``test_dataloader``, ``model``, ``tta_model`` and ``tta_pipeline``
            are changed.
        resolution (str, optional): see :func:`set_resolution`.
        tta (str, optional): see :func:`use_tta`.

    Raises:
        UserError: for an unknown word, a model that cannot be tested so, or, where images
            get another size, a pipeline that does not size them with a transform of this package.
    """
    for name, word, words in (('resolution', resolution, RESOLUTIONS),
                              ('tta', tta, TTA_CHOICES)):
        if word is not None and word not in words:
            raise UserError(f'{name}={word!r} is unknown: it is one of {", ".join(words)}')
    if resolution is None and tta is None:
        return
    if not config.get('test_dataloader'):
        raise UserError('the config has no test_dataloader, whose pipeline the resolution and '
                        'test-time augmentation change')
    if resolution is not None:
        set_resolution(config, resolution, tta_pipeline=tta == 'config')
    if tta is not None:
        use_tta(config, tta)
