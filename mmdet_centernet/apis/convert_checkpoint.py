"""Turn the checkpoints of other CenterNets into this package's."""
import copy
import os
import re
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import torch
from mmengine.registry import DefaultScope, init_default_scope

from mmdet_centernet.apis.checkpoint import load_state, read_checkpoint, shorten, state_dict_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import MODELS

_MMDET_BRANCHES = {'heatmap_head': 'heatmap', 'wh_head': 'wh', 'offset_head': 'offset'}


def _is_ours(names):
    return any(name.startswith('bbox_head.stacks.') for name in names)


def _is_mmdet(names):
    return all(any(name.startswith(f'bbox_head.{head}.') for name in names)
               for head in _MMDET_BRANCHES)


def _rename_mmdet(name):
    """mmdet's parameter name to ours; backbone and neck share their names."""
    match = re.match(r'bbox_head\.(\w+_head)\.(.+)', name)
    if match and match.group(1) in _MMDET_BRANCHES:
        return f'bbox_head.stacks.0.{_MMDET_BRANCHES[match.group(1)]}.{match.group(2)}'
    # mmcv before 1.3 kept the offsets' convolution beside the deformable one, not within.
    return re.sub(r'(deconv_layers\.\d+\.conv)_offset\.', r'\1.conv_offset.', name)


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint.

    Attributes:
        title (str): Said to the user.
        recognise (Callable): Whether a collection of parameter names is of this kind.
        rename (Callable): One parameter name to ours.
    """

    title: str
    recognise: Callable
    rename: Callable


# A further kind is one more line; the first that recognises the file is taken.
SOURCES = (
    Source("this package's own CenterNet", _is_ours, lambda name: name),
    Source("MMDetection's CenterNet", _is_mmdet, _rename_mmdet),
)


def recognise(names, path='the checkpoint'):
    """Find out what wrote a checkpoint.

    Args:
        names (Collection[str]): Its parameter names.
        path (str): Named in the error.

    Returns:
        Source: The kind.

    Raises:
        UserError: If it is none of the known ones.
    """
    for source in SOURCES:
        if source.recognise(names):
            return source
    known = ', '.join(source.title for source in SOURCES)
    raise UserError(f'{path} is none of the checkpoints that can be converted ({known}): its '
                    f'parameters are {shorten(names)}')


def convert(config, source_path):
    """Convert a checkpoint's weights to the model of a config.

    Args:
        config (Config): Says which model the weights are for.
        source_path (str): The checkpoint.

    Returns:
        tuple[dict, Source]: A checkpoint of ``meta`` and ``state_dict`` (with every tensor of
        the model, optimizer and averaged weights left out), and what the file was.

    Raises:
        UserError: If the file cannot be read or is of no known kind, or if a tensor is left
            over, missing or has another shape.
    """
    content = read_checkpoint(source_path)
    weights = state_dict_of(content, source_path)
    # Weights averaged over the training, as mmdet 2 keeps them beside the others.
    weights_without_average = OrderedDict(
        (k, v) for k, v in weights.items() if not k.startswith('ema_'))
    source = recognise(weights_without_average.keys(), source_path)
    renamed = OrderedDict((source.rename(k), v) for k, v in weights_without_average.items())
    # Layers whose names changed between versions read the versions from here.
    if hasattr(weights, '_metadata'):
        renamed._metadata = weights._metadata
    model = _build_model(config)
    outcome = load_state(model, renamed)
    if not outcome.complete:
        raise UserError(f"{source_path} ({source.title}) does not fit the config's model: "
                        f'{outcome.differences()}; nothing was written, use the config of the '
                        'same backbone, neck and number of classes')
    meta = content.get('meta')
    classes = _classes(meta if isinstance(meta, dict) else {}, config,
                       model.bbox_head.num_classes)
    new_meta = {'converted_from': source.title}
    if classes:
        new_meta['dataset_meta'] = classes
    return dict(meta=new_meta, state_dict=model.state_dict()), source


def _build_model(config):
    init_default_scope(config.get('default_scope', 'mmdet'))
    settings = copy.deepcopy(config.model)
    # The weights come from the file; nothing is fetched for their start.
    for part in (settings, *settings.values()):
        if isinstance(part, dict):
            part.pop('init_cfg', None)
    return MODELS.build(settings)


def _classes(meta, config, num_classes):
    """``dataset_meta`` of the source, else of the config's data, if its count fits."""
    candidates = [meta.get('dataset_meta')]
    if meta.get('CLASSES'):  # mmdet 2
        candidates.append(dict(classes=meta['CLASSES'], palette=meta.get('PALETTE')))
    for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        dataset = (config.get(loader) or {}).get('dataset') or {}
        while 'dataset' in dataset:
            dataset = dataset['dataset']
        candidates.append(dataset.get('metainfo') or _default_metainfo(dataset.get('type')))
    for candidate in candidates:
        names = {k.lower(): v for k, v in (candidate or {}).items()}
        if isinstance(names.get('classes'), (list, tuple)) and len(
                names['classes']) == num_classes:
            palette = names.get('palette')
            return dict(classes=tuple(names['classes']),
                        **({'palette': [tuple(c) for c in palette]}
                           if isinstance(palette, (list, tuple)) else {}))
    return None


def _default_metainfo(dataset_type):
    """What a data set class says about itself, without any data."""
    if not isinstance(dataset_type, str):
        return None
    from mmdet.registry import DATASETS
    scope = DefaultScope.get_current_instance()
    with DATASETS.switch_scope_and_registry(scope.scope_name if scope else 'mmdet') as registry:
        found = registry.get(dataset_type)
    return getattr(found, 'METAINFO', None)


def write_checkpoint(checkpoint, path):
    """Write a checkpoint whole or not at all.

    Args:
        checkpoint (dict): What is saved.
        path (str | Path): Its folder is made; an existing file is replaced once the new one
            is complete.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            torch.save(checkpoint, file)
        # mkstemp makes files for their owner alone; give them what open() would.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
