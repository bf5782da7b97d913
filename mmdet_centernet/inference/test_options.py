"""How a config is tested: at which resolution, with which test-time augmentation, how fast."""
import copy

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import MODELS

RESOLUTIONS = ('keep', 'fix')
TTA_CHOICES = ('flip', 'ms')
PRECISIONS = ('float32', 'bfloat16', 'float16')
OPTIMIZE_CHOICES = (False, True, 'compile')

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)
DEFAULT_SIZE = (512, 512)
TTA_TYPE = 'mmdet_centernet.CenterNetTTAModel'
PAD_TYPE = 'mmdet_centernet.CenterPad'
RESIZE_TYPE = 'mmdet_centernet.CenterResize'
STRETCH_TYPE = 'mmdet.Resize'
# The coarsest stride of the Hourglass is 128, that of the other backbones 32.
HOURGLASS_PAD_MASK, PAD_MASK = 127, 31


def apply_test_options(config, resolution=None, tta=None):
    """Change how a config is tested, in place.

    Args:
        config (Config): its ``test_dataloader`` and ``model`` are changed.
        resolution (str, optional): ``'keep'``, the image's own, padded
            (:class:`CenterPad`), or ``'fix'``, the whole image fitted into one size
            (:class:`CenterResize`): that of the config's test images if they have one, else
            of its training crops, else 512 x 512.
        tta (str, optional): ``'flip'``, each image also mirrored; or ``'ms'``, that and at
            several scales. NMS, scales and whether ``'ms'`` mirrors are those of the
            config's ``tta_model`` if it has one; its scales are 0.5, 0.75, 1, 1.25 and 1.5
            otherwise. Not for 3D boxes: an object seen at another scale is one at another
            depth.

    Raises:
        UserError: for an unknown word, a model that cannot be tested so, or, where images
            get another size, a pipeline that does not size them with one of these transforms.
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
    datasets = list(datasets_of(config.test_dataloader.dataset))
    if resolution is not None:
        for dataset in datasets:
            _set_resolution(dataset, resolution, config)
    if tta is not None:
        _wrap(config, datasets, tta)


def faster(model, optimize=False, precision='float32'):
    """A trained model as it is to predict.

    Args:
        model (nn.Module): In eval mode on its device; see
            :mod:`mmdet_centernet.inference.optimize`.
        optimize (bool | str): One of ``OPTIMIZE_CHOICES``.
        precision (str): What the network computes in.

    Returns:
        nn.Module: The model itself or, if optimized, a changed copy.

    Raises:
        UserError: For an unknown word, or float16 on a CPU.
    """
    # Importing mmdet's models takes seconds, which other uses of the tools need not wait for.
    from mmdet_centernet.inference.optimize import optimize_for_inference, use_precision
    for name, word, words in (('optimize', optimize, OPTIMIZE_CHOICES),
                              ('precision', precision, PRECISIONS)):
        if word not in words:
            raise UserError(f'{name}={word!r} is unknown: it is one of '
                            f'{", ".join(map(str, words))}')
    if optimize:
        model = optimize_for_inference(model, compile=optimize == 'compile')
    if precision != 'float32':
        use_precision(model, getattr(torch, precision))
    return model


class FasterModelHook(Hook):
    """Test the model that :func:`faster` makes of the runner's.

    Args:
        optimize, precision: As of :func:`faster`.
    """

    # After hooks that exchange the weights, such as EMAHook.
    priority = 'LOWEST'

    def __init__(self, optimize, precision):
        self.optimize = optimize
        self.precision = precision

    def before_test_epoch(self, runner):
        """Replace the runner's model."""
        model = runner.model
        # Processes have nothing to tell each other while they predict.
        while is_model_wrapper(model):
            model = model.module
        runner.model = faster(model.eval(), self.optimize, self.precision)


def datasets_of(settings):
    """Every data set with a pipeline within the config of one."""
    if settings.get('pipeline') is not None:
        yield settings
    inner = [settings['dataset']] if settings.get('dataset') else settings.get('datasets', ())
    for each in inner:
        yield from datasets_of(each)


def index_of_sizing(pipeline, types, purpose):
    """Where in a pipeline the image gets its size for the network.

    Raises:
        UserError: if it is not done by exactly one transform of these types.
    """
    found = [index for index, step in enumerate(pipeline) if step['type'] in types]
    if len(found) != 1:
        raise UserError(
            f'{purpose} needs a test pipeline with one of {", ".join(types)}, but the '
            f"config's has {len(found)} ({', '.join(str(step['type']) for step in pipeline)}): "
            'leave the sizing of test images to one of these')
    return found[0]


def _set_resolution(dataset, resolution, config):
    """Replace the transform that sizes the test images by that of ``resolution``."""
    index = index_of_sizing(
        dataset.pipeline, (PAD_TYPE, RESIZE_TYPE, STRETCH_TYPE), f'resolution={resolution!r}')
    old = dataset.pipeline[index]
    wanted = PAD_TYPE if resolution == 'keep' else RESIZE_TYPE
    if old['type'] == wanted:
        return
    if resolution == 'keep':
        hourglass = 'Hourglass' in str((config.model.get('backbone') or {}).get('type'))
        new = dict(type=wanted, pad_mask=HOURGLASS_PAD_MASK if hourglass else PAD_MASK)
    else:
        fit = (dict(size=tuple(old['scale'])) if old['type'] == STRETCH_TYPE
               else _training_fit(config))
        new = dict(type=wanted, **fit)
    if 'pad_value' in old:
        new['pad_value'] = old['pad_value']
    dataset.pipeline = [*dataset.pipeline[:index], new, *dataset.pipeline[index + 1:]]


def _training_fit(config):
    """What the :class:`CenterResize` has to be told that sizes images as in training: ``size``
    (width, height), and ``fit`` where the config says which.
    """
    datasets = (datasets_of(config.train_dataloader.dataset)
                if config.get('train_dataloader') else ())
    for dataset in datasets:
        for transform in dataset.pipeline:
            kind = str(transform['type']).rpartition('.')[2]
            if kind in ('CenterResize', 'CenterAffine3D') and 'size' in transform:
                fit = {'fit': transform['fit']} if 'fit' in transform else {}
                return dict(size=tuple(transform['size']), **fit)
            if kind == 'CenterAffine' and 'crop_size' in transform:
                return dict(size=tuple(transform['crop_size']))
            if kind == 'RandomCenterCropPad' and transform.get('crop_size'):
                return dict(size=tuple(transform['crop_size'])[::-1])  # (height, width) there
    return dict(size=DEFAULT_SIZE)


def _wrap(config, datasets, tta):
    """Put the detector into the TTA model, and each pipeline's end into a TestTimeAug."""
    # Importing mmdet's models takes seconds, which other uses of the tools need not wait for.
    from mmdet_centernet.models.test_time_augs.centernet_tta import check_scales
    _check_head(config, tta)
    settings = {'type': TTA_TYPE, **copy.deepcopy(config.get('tta_model') or {})}
    if tta == 'flip':
        settings.update(scales=(1.0, ), flip=True)
    elif settings.get('scales') is None:
        settings['scales'] = SCALES
    check_scales(settings['scales'])
    for dataset in datasets:
        if tta == 'flip':
            # The network's input is what is mirrored, so that any pipeline will do.
            *before, last = dataset.pipeline
            steps = [[last]]
        else:
            index = index_of_sizing(dataset.pipeline, (PAD_TYPE, RESIZE_TYPE), f'tta={tta!r}')
            before, (sizing, *after) = dataset.pipeline[:index], dataset.pipeline[index:]
            steps = [[dict(sizing, scale=sizing.get('scale', 1) * scale)
                      for scale in settings['scales']], *([step] for step in after)]
        dataset.pipeline = [*before, dict(type='TestTimeAug', transforms=steps)]
    config.model = dict(settings, module=config.model)


def _check_head(config, tta):
    """Raise a UserError unless the model's head is one whose outputs can be merged so.

    From the config alone, so that nothing has been built or written yet.
    """
    from mmdet_centernet.models.dense_heads import CenterHead, CenterNetMono3DHead
    kind = (config.model.get('bbox_head') or {}).get('type')
    head = kind
    if isinstance(kind, str):
        with MODELS.switch_scope_and_registry(config.get('default_scope', 'mmdet')) as registry:
            head = registry.get(kind)
    if not (isinstance(head, type) and issubclass(head, CenterHead)):
        raise UserError(
            f'test-time augmentation needs a model with a head of this package, such as '
            f'mmdet_centernet.CenterNetHead, but {config.model.get("type")} has '
            f'{kind or "no bbox_head"}: test it without')
    if tta == 'ms' and issubclass(head, CenterNetMono3DHead):
        raise UserError(
            f"tta='ms' is not for 3D boxes ({kind}), because the same object has another depth at "
            "another scale: use tta='flip', which mirrors the image")
