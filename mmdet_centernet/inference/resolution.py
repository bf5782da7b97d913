"""Sizes of test images: the transforms that size them, and how to replace these in a config."""
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from mmdet_centernet.errors import UserError

RESOLUTIONS = ('keep', 'fix')
DEFAULT_SIZE = (512, 512)
PAD_TYPE = 'mmdet_centernet.CenterPad'
RESIZE_TYPE = 'mmdet_centernet.CenterResize'
STRETCH_TYPE = 'mmdet.Resize'
SIZING_TYPES = (PAD_TYPE, RESIZE_TYPE, STRETCH_TYPE)
# The coarsest stride of the Hourglass is 128, that of the other backbones 32.
HOURGLASS_PAD_MASK, PAD_MASK = 127, 31


def set_resolution(config: Config, resolution: str, tta_pipeline: bool = False) -> None:
    """Change the size of the images that a config is tested on, in place.

    Args:
        config (Config): the pipelines of its ``test_dataloader`` are changed.
        resolution (str): ``'keep'``, the image's own size, padded (:class:`CenterPad`), or
            ``'fix'``, the whole image fitted into one size (:class:`CenterResize`): that of the
            config's test images if they have one, else of its training crops, else 512 x 512.
        tta_pipeline (bool): change the config's ``tta_pipeline``, too.

    Raises:
        UserError: if a pipeline does not size images with exactly one of ``SIZING_TYPES``.
    """
    datasets = list(datasets_of(config.test_dataloader.dataset))
    pipelines = [_resized(dataset.pipeline, resolution, config) for dataset in datasets]
    if tta_pipeline and config.get('tta_pipeline'):
        config.tta_pipeline = _resized(config.tta_pipeline, resolution, config)
    for dataset, pipeline in zip(datasets, pipelines, strict=True):
        dataset.pipeline = pipeline


def datasets_of(settings: ConfigDict) -> Iterator[ConfigDict]:
    """Yield every data set with a pipeline within the config of one."""
    if settings.get('pipeline') is not None:
        yield settings
    inner = [settings['dataset']] if settings.get('dataset') else settings.get('datasets', ())
    for each in inner:
        yield from datasets_of(each)


def is_test_time_aug(step: dict[str, Any]) -> bool:
    """Return whether a transform's config is that of MMCV's ``TestTimeAug``."""
    return str(step['type']).rpartition('.')[2] == 'TestTimeAug'


def index_of_sizing(pipeline: Sequence[dict[str, Any]], types: Sequence[str], purpose: str) -> int:
    """Return the index of the transform that gives the image its size for the network.

    Args:
        pipeline (Sequence[dict]): configs of transforms.
        types (Sequence[str]): types of transforms that are accepted.
        purpose (str): what needs it, for the error message.

    Raises:
        UserError: if there is not exactly one transform of these types.
    """
    found = [index for index, step in enumerate(pipeline) if step['type'] in types]
    if len(found) != 1:
        raise UserError(
            f'{purpose} needs a test pipeline with one of {", ".join(types)}, but the '
            f"config's has {len(found)} ({', '.join(str(step['type']) for step in pipeline)}): "
            'leave the sizing of test images to one of these')
    return found[0]


def _resized(
    pipeline: Sequence[dict[str, Any]], resolution: str, config: Config
) -> list[dict[str, Any]]:
    """Return a pipeline whose images are sized as ``resolution`` says.

    Within a ``TestTimeAug`` the transform is replaced at every scale.
    """
    for index, step in enumerate(pipeline):
        if not is_test_time_aug(step):
            continue
        groups = step['transforms']
        if any(each['type'] in SIZING_TYPES for group in groups for each in group):
            groups = [[_sizing(each, resolution, config) if each['type'] in SIZING_TYPES else each
                       for each in group] for group in groups]
            return [*pipeline[:index], dict(step, transforms=groups), *pipeline[index + 1:]]
    index = index_of_sizing(pipeline, SIZING_TYPES, f'resolution={resolution!r}')
    return [*pipeline[:index], _sizing(pipeline[index], resolution, config),
            *pipeline[index + 1:]]


def _sizing(old: dict[str, Any], resolution: str, config: Config) -> dict[str, Any]:
    """Return the transform of ``resolution`` that replaces another one."""
    wanted = PAD_TYPE if resolution == 'keep' else RESIZE_TYPE
    if old['type'] == wanted:
        return old
    if resolution == 'keep':
        if old.get('camera'):
            raise UserError("resolution='keep' leaves images as their own cameras see them, but "
                            'the model takes them as one camera sees them: leave it out')
        hourglass = 'Hourglass' in str((config.model.get('backbone') or {}).get('type'))
        new = dict(type=wanted, pad_mask=HOURGLASS_PAD_MASK if hourglass else PAD_MASK)
    else:
        fit = (dict(size=tuple(old['scale'])) if old['type'] == STRETCH_TYPE
               else _training_fit(config))
        new = dict(type=wanted, **fit)
    kept = ('pad_value', ) if old['type'] == STRETCH_TYPE else ('pad_value', 'scale')
    return dict(new, **{name: old[name] for name in kept if name in old})


def _training_fit(config: Config) -> dict[str, Any]:
    """Return ``size`` (width, height) of training images, and ``fit`` and ``camera`` if given."""
    datasets = (datasets_of(config.train_dataloader.dataset)
                if config.get('train_dataloader') else ())
    for dataset in datasets:
        for transform in dataset['pipeline']:
            kind = str(transform['type']).rpartition('.')[2]
            if kind in ('CenterResize', 'CenterAffine3D') and 'size' in transform:
                fit = {name: transform[name] for name in ('fit', 'camera') if name in transform}
                return dict(size=tuple(transform['size']), **fit)
            if kind == 'CenterAffine' and 'crop_size' in transform:
                return dict(size=tuple(transform['crop_size']))
            if kind == 'RandomCenterCropPad' and transform.get('crop_size'):
                return dict(size=tuple(transform['crop_size'])[::-1])  # (height, width) there
    return dict(size=DEFAULT_SIZE)
