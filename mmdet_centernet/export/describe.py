"""Metadata of a detector that is exported."""
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel

from mmdet_centernet.errors import UserError
from mmdet_centernet.export.graph import CAMERA, DetectionGraph
from mmdet_centernet.export.options import ONNX_FORMATS, ExportOptions
from mmdet_centernet.inference.resolution import (
    DEFAULT_SIZE,
    PAD_TYPE,
    RESIZE_TYPE,
    STRETCH_TYPE,
    datasets_of,
    index_of_sizing,
)
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.layers import DCNv2
from mmdet_centernet.registry import TRANSFORMS
from mmdet_centernet.runtime.metadata import Metadata
from mmdet_centernet.version import __version__

SIZINGS = (PAD_TYPE, RESIZE_TYPE, STRETCH_TYPE)
DEFAULT_DIVISOR = 32


def describe(model: BaseModel, config: Config, options: ExportOptions) -> Metadata:
    """Return the metadata of a model.

    Args:
        model (CenterNet): with ``dataset_meta``, as :func:`load_detector` returns it.
        config (Config): its test pipeline says how images become inputs.
        options (ExportOptions): what is exported.

    Raises:
        UserError: if the config sizes images, or suppresses detections, in a way that an
            exported model does not know, the shape does not suit the network, or the model
            needs inputs that exported models do not have.
    """
    graph = DetectionGraph(model, options.kind, options.flip, options.raw)
    name = Path(config.filename or 'config').stem
    divisor = (config.model.get('data_preprocessor') or {}).get(
        'pad_size_divisor', DEFAULT_DIVISOR)
    shape, transform = _find_sizes(config, options, divisor)
    head = model.bbox_head
    for each in head.image_inputs:
        if each != CAMERA and not options.raw:
            raise UserError(f'the model needs {each} of every image, but exported models take '
                            f'images and {CAMERA} only: leave out the property that needs it')
    has_dcn = any(isinstance(module, DCNv2) for module in model.modules())
    if options.dcn != 'grid_sample' and not has_dcn:
        raise UserError(f'--dcn {options.dcn}, but {name} has no deformable convolution: leave it '
                        'out')
    meta = dict(getattr(model, 'dataset_meta', {}))
    if not {'classes', 'palette'} <= set(meta):
        raise UserError('the model has no dataset_meta with classes and palette: load it with '
                        'mmdet_centernet.inference.loading.load_detector')
    classes, palette = meta.pop('classes'), meta.pop('palette')
    return Metadata(
        version=__version__,
        config=name,
        task=head.task,
        classes=tuple(classes),
        palette=tuple(map(tuple, palette)),
        dataset=meta,
        properties=tuple(dict(type=type(each).__name__, **each.describe())
                         for each in head.properties),
        stride=head.coder.stride,
        divisor=divisor,
        shape=shape,
        batch=options.batch,
        inputs=tuple(graph.input_names),
        outputs=tuple(graph.output_names),
        input=graph.input_format,
        transform=transform,
        test_cfg=_remaining_test_cfg(head, graph.output_names),
        flip=options.flip,
        raw=options.raw,
        dcn=options.dcn if has_dcn else None,
        opset=options.opset if options.format in ONNX_FORMATS else None,
        precision='float32')


def _find_sizes(
    config: Config, options: ExportOptions, divisor: int
) -> tuple[tuple[int, int] | None, dict[str, Any]]:
    """Return (height, width) of the input, None for any, and how images become inputs."""
    transform = _find_transform(config)
    if options.dynamic:
        return None, transform
    shape = options.shape or tuple(reversed(transform.get('size', DEFAULT_SIZE)))
    if any(side % divisor or side < divisor for side in shape):
        up = ' '.join(str(max(-(-side // divisor), 1) * divisor) for side in shape)
        raise UserError(
            f'the input shape {shape[0]} {shape[1]} (height, width) is not a multiple of '
            f"{divisor}, the network's coarsest stride: export with --shape {up}")
    if transform['type'] == 'CenterPad':  # to the image's own size, which is not fixed
        transform = dict(type='CenterResize', fit='whole', pad_value=transform['pad_value'],
                         scale=1.0)
    return (shape[0], shape[1]), dict(transform, size=[shape[1], shape[0]])


def _find_transform(config: Config) -> dict[str, Any]:
    """Return the test pipeline's sizing step with all its options.

    Raises:
        UserError: if it is not one of ``SIZINGS``, or a ``Resize`` that keeps proportions.
    """
    pipeline = next(datasets_of(config.test_dataloader.dataset))['pipeline']
    step: Mapping[str, Any] = pipeline[index_of_sizing(pipeline, SIZINGS, 'an exported model')]
    if step['type'] == STRETCH_TYPE:
        if step.get('keep_ratio') or 'scale' not in step:
            raise UserError(
                'the test pipeline has a mmdet.Resize that keeps proportions, which leaves '
                'images of many sizes: size them with mmdet_centernet.CenterResize or '
                'mmdet_centernet.CenterPad to export')
        return dict(type='Resize', size=list(step['scale']), backend=step.get('backend', 'cv2'),
                    interpolation=step.get('interpolation', 'bilinear'))
    # The transform is built for the defaults of what the config leaves out.
    built = TRANSFORMS.build(step)
    return dict(type=type(built).__name__, **{
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(built).items() if value is not None})


def _remaining_test_cfg(head: CenterHead, outputs: list[str]) -> dict[str, Any]:
    """Return the part of the head's ``test_cfg`` that is not in the graph."""
    cfg = head.test_cfg or {}
    nms = dict(cfg['nms']) if cfg.get('nms') else None
    if nms and nms.get('type') != 'nms':
        raise UserError(
            f"the config's test_cfg suppresses detections by {nms.get('type')}, which exported "
            'models do not: set --cfg-options model.test_cfg.nms=None (the paper uses none), or '
            "dict(type='nms')")
    return dict(
        max_per_img=cfg.get('max_per_img', 100), score_thr=cfg.get('score_thr', 0.0),
        clip_boxes=bool(cfg.get('clip_boxes', False)), nms=nms)
