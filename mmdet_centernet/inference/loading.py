"""Loading of a trained detector, with the names and colors of what it detects."""
import sys
import warnings
from collections.abc import Mapping
from os import PathLike
from typing import Any

from mmdet.visualization.palette import get_palette
from mmengine.config import Config
from mmengine.model import BaseModel, BaseTTAModel
from mmengine.registry import MODELS, init_default_scope

from mmdet_centernet.checkpoints.convert import (
    dataset_meta,
    keypoint_counts,
    rename_skeletons,
)
from mmdet_centernet.checkpoints.load import load_weights
from mmdet_centernet.datasets.skeleton import COCO_SKELETON
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import Keypoints

# Packages whose frames are not the user's code.
_PACKAGES = ('mmdet_centernet', 'mmdet', 'mmengine')

Palette = str | list[tuple[int, int, int]]


def load_detector(
    config: Config,
    weights: str | PathLike[str] | None = None,
    device: str = 'cpu',
    palette: Palette = 'none',
) -> BaseModel:
    """Build a config's model and load all of its weights.

    Args:
        config (Config): its ``model`` may be a test-time augmentation around a detector.
        weights (str | Path, optional): a checkpoint file or its http(s) address. None warns and
            leaves the weights random.
        device (str): where the model is moved to.
        palette (str | list): colors of the classes, see :class:`CenterNetInferencer`.

    Returns:
        BaseModel: in eval mode, with ``cfg`` and ``dataset_meta``: ``classes`` (tuple of str),
        ``palette`` (list of RGB) and, if known, skeletons and attributes.

    Raises:
        UserError: if config and checkpoint cannot be read or do not fit each other.
    """
    init_default_scope(config.get('default_scope', 'mmdet'))
    model = MODELS.build(config.model)
    detector = model.module if isinstance(model, BaseTTAModel) else model
    head = getattr(detector, 'bbox_head', None)
    if not isinstance(head, CenterHead):
        raise UserError(f"the config's model is a {type(detector).__name__} without a head of "
                        "mmdet_centernet: use mmdet's DetInferencer for it")
    meta: Mapping[str, Any] = {}
    if weights is None:
        _warn('no weights are given: the model is random and its detections mean nothing')
    else:
        meta = load_weights(detector, weights)
    model.cfg = config
    model.dataset_meta = _find_dataset_meta(meta, config, head, palette)
    head.use_dataset(model.dataset_meta)
    return model.to(device).eval()


def _find_dataset_meta(
    meta: Mapping[str, Any], config: Config, head: CenterHead, palette: Palette
) -> dict[str, Any]:
    """Return what a head's classes, keypoints and attributes are called, and their colors.

    Args:
        meta (dict): metainfo of the checkpoint.
        config (Config): its data come next.
        head (CenterHead): of the model.
        palette (str | list): see :func:`load_detector`.
    """
    num_classes = head.num_classes
    num_keypoints = max((each.num_keypoints for each in head.properties
                         if isinstance(each, Keypoints)), default=None)
    counts = keypoint_counts(meta.get('dataset_meta') or {})
    if num_keypoints and counts and num_keypoints not in counts:
        _warn(f"the checkpoint's data set has {max(counts)} keypoints, but model.bbox_head "
              f'predicts {num_keypoints}: names and skeleton of that data set are not used')
    found = dataset_meta(meta, config, num_classes, num_keypoints)
    if found is None:
        _warn(f'neither the checkpoint nor the config names {num_classes} classes: they are '
              "called 'class 0' and so on")
        found = dict(classes=tuple(f'class {index}' for index in range(num_classes)))
    others = dataset_meta({}, config, num_classes, num_keypoints) or {}
    if num_keypoints and 'num_keypoints' not in found:
        skeleton = _find_skeleton(others, num_keypoints)
        found = {**rename_skeletons(skeleton, found['classes']), **found}
    if 'attributes' in others:
        found.setdefault('attributes', others['attributes'])
    colors = palette if palette != 'none' else found.get('palette', 'random')
    try:
        colors = get_palette(colors, num_classes)
    except (AssertionError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'palette={colors!r} is not a palette for {num_classes} classes: give '
            "'random', 'coco', 'voc', the name of a color, or a list of one (r, g, b) for each "
            'class') from error
    return dict(found, palette=[tuple(map(int, color)) for color in colors])


def _find_skeleton(known: Mapping[str, Any], num_keypoints: int) -> Mapping[str, Any]:
    """Return metainfo with the skeleton of the config's data, else COCO's if that fits."""
    if 'num_keypoints' not in known and num_keypoints == COCO_SKELETON['num_keypoints']:
        known = COCO_SKELETON
    if 'num_keypoints' not in known:
        _warn(f'neither the checkpoint nor the config describes a skeleton of {num_keypoints} '
              'keypoints: they are drawn without links')
    return known


def _warn(message: str) -> None:
    """Warn at the line of the user's own code that called this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and (
            frame.f_globals.get('__name__', '').partition('.')[0] in _PACKAGES):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
