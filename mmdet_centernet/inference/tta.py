"""Test-time augmentation of a config: its ``tta_model`` and ``tta_pipeline``.

As in MMDetection, the detector becomes the ``module`` of the ``tta_model``, and the test images
come through the ``tta_pipeline``.
"""
import copy
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import Registry

from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.resolution import (
    PAD_TYPE,
    RESIZE_TYPE,
    datasets_of,
    index_of_sizing,
    is_test_time_aug,
)
from mmdet_centernet.registry import MODELS, TASK_UTILS

TTA_CHOICES = ('config', 'flip', 'ms')
TTA_TYPE = 'mmdet_centernet.CenterNetTTAModel'
# The original implementation's (Objects as Points, Sec. 5).
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5)


def use_tta(config: Config, tta: str) -> None:
    """Test a config with test-time augmentation, in place.

    Args:
        config (Config): its ``model``, the pipelines of its ``test_dataloader``, and its
            ``tta_model`` and ``tta_pipeline`` are changed.
        tta (str): ``'config'``, as its ``tta_model`` and ``tta_pipeline`` say. ``'flip'``, each
            image also flipped, or ``'ms'``, that and at ``SCALES``: a ``tta_pipeline`` is made
            of the test pipeline, and ``nms``, and whether ``'ms'`` flips, are those of the
            ``tta_model`` if the config has one.

    Raises:
        UserError: if the model cannot be tested so, if the config has no ``tta_pipeline``, or if
            images of ``'ms'`` are not sized by a transform that has a ``scale``. Several scales
            are not for 3D boxes.
    """
    _check_head(config, tta)
    model = ConfigDict({'type': TTA_TYPE, **copy.deepcopy(config.get('tta_model') or {})})
    datasets = list(datasets_of(config.test_dataloader.dataset))
    if tta == 'config':
        pipeline = config.get('tta_pipeline')
        if not pipeline or not any(is_test_time_aug(step) for step in pipeline):
            raise UserError(
                f'the config has no tta_pipeline{" that ends in TestTimeAug" if pipeline else ""}:'
                ' add one (configs/_base_/default_data.py has an example), or choose flip or ms, '
                'which make one of the test pipeline')
        pipelines = [copy.deepcopy(pipeline) for _ in datasets]
    elif tta == 'flip':
        model.flip = True
        pipelines = [_at_one_scale(dataset.pipeline) for dataset in datasets]
    else:
        pipelines = [_at_scales(dataset.pipeline, SCALES) for dataset in datasets]
    for dataset, pipeline in zip(datasets, pipelines, strict=True):
        dataset.pipeline = pipeline
    config.tta_model, config.tta_pipeline = model, pipelines[0]
    config.model = ConfigDict(**model, module=config.model)


def _at_one_scale(pipeline: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a ``tta_pipeline`` of one view: any test pipeline will do."""
    *before, last = pipeline
    return [*before, dict(type='TestTimeAug', transforms=[[last]])]


def _at_scales(
    pipeline: Sequence[dict[str, Any]], scales: Sequence[float]
) -> list[dict[str, Any]]:
    """Return a ``tta_pipeline`` with one view per scale.

    Raises:
        UserError: if the test pipeline sizes images with a transform that has no ``scale``.
    """
    index = index_of_sizing(pipeline, (PAD_TYPE, RESIZE_TYPE), "tta='ms'")
    sizing, *after = pipeline[index:]
    sized = [dict(sizing, scale=sizing.get('scale', 1) * scale) for scale in scales]
    return [*pipeline[:index],
            dict(type='TestTimeAug', transforms=[sized, *([step] for step in after)])]


def _check_head(config: Config, tta: str) -> None:
    """Raise a UserError unless the model's head is one whose outputs can be merged so.

    It reads the config alone, before anything is built or written.
    """
    # Importing mmdet's models takes seconds, which other uses of the tools need not wait for.
    from mmdet_centernet.models.dense_heads import CenterHead, CenterNetMono3DHead
    from mmdet_centernet.models.test_time_augs.centernet_tta import ONE_SCALE_IN_3D
    settings = config.model.get('bbox_head') or {}
    kind = settings.get('type')
    scope = config.get('default_scope', 'mmdet')

    def class_of(name: Any, registry: Registry) -> Any:
        if not isinstance(name, str):
            return name
        with registry.switch_scope_and_registry(scope) as current:
            return current.get(name)

    head = class_of(kind, MODELS)
    if not (isinstance(head, type) and issubclass(head, CenterHead)):
        raise UserError(
            f'test-time augmentation needs a model with a head of this package, such as '
            f'mmdet_centernet.CenterNetHead, but {config.model.get("type")} has '
            f'{kind or "no bbox_head"}: test it without')
    in_3d = issubclass(head, CenterNetMono3DHead) or any(
        'cam2img' in getattr(class_of(each['type'], TASK_UTILS), 'image_inputs', ())
        for each in settings.get('properties', ()))
    if tta == 'ms' and in_3d:
        raise UserError(
            f"tta='ms' is not for 3D boxes ({kind}), {ONE_SCALE_IN_3D}: use tta='flip', which "
            'flips the image')
