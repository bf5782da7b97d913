"""What there is to say of a detector that is exported: its metadata, from model and config."""
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.resolution import (
    DEFAULT_SIZE,
    PAD_TYPE,
    RESIZE_TYPE,
    STRETCH_TYPE,
    datasets_of,
    index_of_sizing,
)
from mmdet_centernet.models.layers import DCNv2
from mmdet_centernet.registry import TRANSFORMS
from mmdet_centernet.runtime.metadata import FORMAT
from mmdet_centernet.version import __version__

SIZINGS = (PAD_TYPE, RESIZE_TYPE, STRETCH_TYPE)


def describe(model, config, config_name, shape=None, dynamic=False, batch=1):
    """Metadata of a model, see :mod:`mmdet_centernet.runtime.metadata`; what depends on the
    graph and the file is filled in by who makes them.

    Args:
        model (CenterNet): With ``dataset_meta``, as the inferencer gives it.
        config (Config): Its test pipeline says how images become inputs.
        config_name (str): Of the file.
        shape (tuple[int, int], optional): (height, width) of the input. None: the size that the
            config's test pipeline gives images, else 512 x 512.
        dynamic (bool): The input may have any size.
        batch (int, optional): Images of a batch, None for any.

    Returns:
        dict

    Raises:
        UserError: If the config sizes images, or suppresses detections, in a way that an
            exported model does not know, or the shape does not suit the network.
    """
    divisor = _divisor(config)
    transform = _transform(config)
    if dynamic:
        size = None
    else:
        size = tuple(shape or reversed(transform.get('size', DEFAULT_SIZE)))
        if any(side % divisor or side < divisor for side in size):
            up = ' '.join(str(max(-(-side // divisor), 1) * divisor) for side in size)
            raise UserError(
                f'the input shape {size[0]} {size[1]} (height, width) is no multiple of '
                f"{divisor}, the network's coarsest stride: export with --shape {up}")
        if transform['type'] == 'CenterPad':  # of an image's own size, which is not fixed
            transform = dict(type='CenterResize', fit='whole', pad_value=transform['pad_value'],
                             scale=1.0)
        transform['size'] = [size[1], size[0]]
    meta = model.dataset_meta
    head = model.bbox_head
    skeleton = {key: value for key, value in meta.items() if key not in ('classes', 'palette')}
    return dict(
        format=FORMAT,
        version=__version__,
        config=config_name,
        task=head.task,
        classes=list(meta['classes']),
        palette=[list(color) for color in meta['palette']],
        skeleton=skeleton or None,
        stride=head.coder.stride,
        divisor=divisor,
        shape=list(size) if size else None,
        batch=batch,
        transform=transform,
        test_cfg=_test_cfg(head),
        dcn='grid_sample' if any(isinstance(m, DCNv2) for m in model.modules()) else None,
        opset=None,
        precision='float32')


def _divisor(config):
    """What the sides of an input have to be multiples of."""
    return (config.model.get('data_preprocessor') or {}).get('pad_size_divisor', 32)


def _transform(config):
    """The test pipeline's sizing step with all its options.

    Raises:
        UserError: If it is not one of ``SIZINGS``, or a ``Resize`` that keeps proportions.
    """
    pipeline = next(datasets_of(config.test_dataloader.dataset)).pipeline
    step = pipeline[index_of_sizing(pipeline, SIZINGS, 'an exported model')]
    options = {key: value for key, value in step.items() if key != 'type'}
    if step['type'] == STRETCH_TYPE:
        if options.get('keep_ratio') or 'scale' not in options:
            raise UserError(
                'the test pipeline has a mmdet.Resize that keeps proportions, which leaves '
                'images of many sizes: size them with mmdet_centernet.CenterResize or '
                'mmdet_centernet.CenterPad to export')
        return dict(type='Resize', size=list(options['scale']),
                    backend=options.get('backend', 'cv2'),
                    interpolation=options.get('interpolation', 'bilinear'))
    # Built, so that what the config leaves out is what the transform takes for it.
    built = TRANSFORMS.build(step)
    return dict(type=type(built).__name__, **{
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(built).items()})


def _test_cfg(head):
    """What of the head's ``test_cfg`` is left to do behind the graph."""
    cfg = head.test_cfg or {}
    nms = dict(cfg['nms']) if cfg.get('nms') else None
    if nms and nms.get('type') != 'nms':
        raise UserError(
            f"the config's test_cfg suppresses by {nms.get('type')}, which exported models do "
            'not: set --cfg-options model.test_cfg.nms=None (the paper uses none), or '
            "dict(type='nms')")
    return dict(
        max_per_img=cfg.get('max_per_img', 100), score_thr=cfg.get('score_thr', 0.0),
        clip_boxes=bool(cfg.get('clip_boxes', False)), nms=nms,
        shift_sizes=bool(cfg.get('shift_sizes', False)))
