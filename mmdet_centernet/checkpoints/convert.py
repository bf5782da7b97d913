"""Conversion of the checkpoints of other CenterNets to this package's, and back."""
import copy
import os
import re
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.models.backbones import ResNet
from mmdet.models.detectors.base import BaseDetector
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope, init_default_scope
from torch import Tensor

from mmdet_centernet.checkpoints.architecture import architecture_of
from mmdet_centernet.checkpoints.parameter_names import (
    NameTable,
    bubbliiiing_table,
    dla_table,
    hourglass_table,
    mmdetection_table,
    official_branches,
    published_branches,
    resnet_table,
)
from mmdet_centernet.checkpoints.read import (
    load_state,
    read_checkpoint,
    shorten,
    state_dict_of,
    with_metadata,
)
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.properties.keypoints import Keypoints
from mmdet_centernet.registry import MODELS

COMMAND = 'python tools/model_converters/convert_checkpoint.py'
# Tensors that the original keeps but its network does not use, with the original's names.
UNUSED = 'official_unused'

# Keys of a dataset's metainfo that describe its skeleton.
SKELETON_KEYS = (
    'num_keypoints', 'keypoint_id2name', 'keypoint_name2id', 'flip_pairs', 'flip_indices',
    'keypoint_colors', 'skeleton_links', 'skeleton_link_colors', 'sigmas', 'skeletons')
# Prefix of our heads' branches, and a parameter of the heatmap, which every CenterNet has.
_BRANCHES = 'bbox_head.stacks.'
_HEATMAP = f'{_BRANCHES}0.heatmap.0.weight'

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Source:
    """Kind of checkpoint.

    Attributes:
        title (str): Description for the user.
        prefixes (tuple[str, ...]): Prefixes of parameter names, all of which occur in addition
            to that of the heatmap.
        make_table (Callable, optional): One of the tables in
            :mod:`mmdet_centernet.checkpoints.parameter_names`; None if the names are ours.
        is_original (bool): ``--to official`` writes this kind.
        bgr (bool, optional): Whether its networks were trained on BGR images; None if that
            varies.
        resnet_style (str, optional): Its bottlenecks stride in the 3x3 convolution
            (``'pytorch'``) or in the first 1x1 (``'caffe'``).
    """

    title: str
    prefixes: tuple[str, ...]
    make_table: Callable[[Mapping[str, str]], NameTable] | None = None
    is_original: bool = False
    bgr: bool | None = None
    resnet_style: str | None = None

    def table(self, head: CenterHead | None = None) -> NameTable:
        """Return the table of its names and ours.

        Args:
            head (CenterHead, optional): Its branches are known in addition to those of the
                published heads.
        """
        branches = published_branches()
        if head is not None:
            branches = branches | official_branches(head)
        return self.make_table(branches) if self.make_table else NameTable([('<*>', '<*>')])

    def recognizes(self, names: Collection[str]) -> bool:
        """Return True if the names have all prefixes."""
        heatmap = self.table().to_theirs(_HEATMAP)
        assert heatmap is not None  # every table has the heatmap
        # The heatmap's name is followed by the number of a stack or a layer.
        prefixes = (*self.prefixes, re.split(r'\d', heatmap)[0])
        return all(any(name.startswith(start) for name in names) for start in prefixes)


_OURS = Source("this package's own CenterNet", ())
# Another kind is one more entry; the first that recognizes the file is used.
SOURCES = (
    _OURS,
    Source("MMDetection's CenterNet", (), mmdetection_table, bgr=False),
    Source("bubbliiiing's CenterNet (ResNet-50)", ('decoder.deconv_layers.', ),
           bubbliiiing_table, bgr=True, resnet_style='caffe'),
    Source('the original CenterNet (ResNet)', ('layer1.', 'deconv_layers.'), resnet_table,
           is_original=True, bgr=True, resnet_style='pytorch'),
    Source('the original CenterNet (DLA)', ('base.level5.', 'dla_up.', 'ida_up.'), dla_table,
           is_original=True, bgr=True),
    # bubbliiiing's Hourglass has the same names and computes the same.
    Source('the original CenterNet (Hourglass)', ('kps.', 'cnvs.'), hourglass_table,
           is_original=True, bgr=True),
)


def recognize(names: Collection[str], path: str = 'the checkpoint') -> Source:
    """Recognize which program wrote a checkpoint.

    Args:
        names (Collection[str]): The checkpoint's parameter names.
        path (str): Named in the error.

    Returns:
        Source: The kind of checkpoint.

    Raises:
        UserError: If the kind is unknown.
    """
    for source in SOURCES:
        if source.recognizes(names):
            return source
    known = ', '.join(source.title for source in SOURCES)
    raise UserError(f'{path} is not one of the checkpoints that can be converted ({known}): its '
                    f'parameters are {shorten(names)}')


def hint_for(names: Collection[str]) -> str:
    """Return a hint for a checkpoint that does not fit because another program wrote it.

    Args:
        names (Collection[str]): The checkpoint's parameter names.

    Returns:
        str: A clause, empty if the checkpoint is our own or of an unknown kind.
    """
    for source in SOURCES[1:]:
        if source.recognizes(names):
            return (f'it is a checkpoint of {source.title}, which has to be converted first: '
                    f'{COMMAND} CONFIG SRC DST')
    return ''


def read_renamed(
    source_path: str, head: CenterHead | None = None
) -> tuple[dict[str, Any], OrderedDict[str, Tensor], Source]:
    """Read a checkpoint and give its parameters our names.

    Args:
        source_path (str): The checkpoint.
        head (CenterHead, optional): Head of the model that the weights are for.

    Returns:
        tuple[dict, OrderedDict[str, Tensor], Source]: The file's content, its weights with our
        names (parameters that the source's table does not know keep theirs), and its kind.

    Raises:
        UserError: If the file cannot be read or is of an unknown kind.
    """
    content = read_checkpoint(source_path)
    weights = state_dict_of(content, source_path)
    # mmdet 2 keeps the weights averaged over the training next to the others.
    names = [name for name in weights if not name.startswith('ema_')]
    source = recognize(names, source_path)
    table = source.table(head)
    renamed = OrderedDict((table.to_ours(name) or name, weights[name]) for name in names)
    return content, with_metadata(renamed, weights), source


def convert(config: Config, source_path: str) -> tuple[dict[str, Any], Source]:
    """Convert a checkpoint's weights to the model of a config.

    Args:
        config (Config): The config of the model.
        source_path (str): The checkpoint.

    Returns:
        tuple[dict, Source]: A checkpoint with ``meta`` and ``state_dict`` (the source's tensors
        that the model has, without optimizer and averaged weights), with ``official_unused`` if
        the original's file holds tensors that no output depends on, and the kind of the file.

    Raises:
        UserError: If the file cannot be read or is of an unknown kind, or if a tensor is left
            over, missing or has another shape.
    """
    model = _build_empty_model(config)
    head = model.bbox_head if isinstance(model.bbox_head, CenterHead) else None
    content, renamed, source = read_renamed(source_path, head)
    outcome = load_state(model, renamed, assign=True)
    if not outcome.complete:
        raise UserError(
            f"{source_path} ({source.title}: {architecture_of(renamed)}) does not fit the "
            f"config's model: {outcome.differences()}; nothing was written; "
            f'{_advice(renamed, source, config)}')
    fault = _other_computation(model, source)
    if fault:
        raise UserError(f'{source_path} ({source.title}) has the names and shapes of the '
                        f"config's model, but {fault}; nothing was written; "
                        f'{_advice(renamed, source)}')
    # Batch norm's counters, which old files lack, are the only tensors that may be missing.
    state = OrderedDict((name, value) for name, value in model.state_dict().items()
                        if name in renamed)
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    new_meta: dict[str, Any] = {'converted_from': source.title}
    keypoints = model.bbox_head.find_property(Keypoints)
    names = dataset_meta(meta, config, model.bbox_head.num_classes,
                         keypoints and keypoints.num_keypoints)
    if names:
        new_meta['dataset_meta'] = names
    epoch = content.get('epoch', meta.get('epoch'))
    if isinstance(epoch, int):
        new_meta['epoch'] = epoch
    checkpoint: dict[str, Any] = dict(meta=new_meta, state_dict=state)
    unused = content.get(UNUSED) if source is _OURS else None
    if source.is_original:
        # The tensors that the model itself discards while loading.
        table = source.table(head)
        unused = OrderedDict((table.to_theirs(name), value) for name, value in renamed.items()
                             if name not in state)
    if unused:
        checkpoint[UNUSED] = unused
    return checkpoint, source


def color_note(config: Config, source: Source, back: bool = False) -> str:
    """Return a note if model and weights differ in the order of the color channels.

    Args:
        config (Config): The config of the model.
        source (Source): The kind of checkpoint that the weights are from.
        back (bool): The weights are converted to the original's format.

    Returns:
        str: Empty if the orders agree.
    """
    to_rgb = (config.model.get('data_preprocessor') or {}).get('bgr_to_rgb', False)
    if back and source.bgr is not True and to_rgb:
        return ("the model was trained on RGB images, but the original feeds BGR: let the "
                "original use RGB images and the mean and std of the config's data_preprocessor")
    if back or source.bgr is None or source.bgr != to_rgb:
        return ''
    orders = ('BGR', 'RGB') if source.bgr else ('RGB', 'BGR')
    return (f'the weights were trained on {orders[0]} images but the config feeds {orders[1]}: '
            'before testing them, set mean, std and bgr_to_rgb of model.data_preprocessor to '
            'those of the training')


def to_official(checkpoint: dict[str, Any], config: Config) -> dict[str, Any]:
    """Give a converted or trained checkpoint the original's names.

    Biases before batch norms that the original has and the model does not have are written as
    zeros; tensors that the original keeps without using them come from ``official_unused``,
    or else from their neighbors of the same shape. So the original loads the file strictly.

    Args:
        checkpoint (dict): Returned by :func:`convert`.
        config (Config): The config of its model.

    Returns:
        dict: ``epoch`` and ``state_dict``, as the original writes it.

    Raises:
        UserError: If the original does not have this network.
    """
    state: dict[str, Tensor] = checkpoint['state_dict']
    architecture = architecture_of(state)
    model = _build_empty_model(config)
    branches = official_branches(model.bbox_head)
    for source in SOURCES:
        if not (source.is_original and source.make_table and architecture.official_name):
            continue
        to_theirs = source.make_table(branches).to_theirs
        names = {own: theirs for own in state if (theirs := to_theirs(own)) is not None}
        if len(names) == len(state):
            break
    else:
        reason = _why_not(state, model.bbox_head)
        raise UserError(f'the original CenterNet cannot express this model: {reason} '
                        f'({architecture}); nothing was written')
    fault = _other_computation(model, source)
    if fault:
        raise UserError(f'the original CenterNet cannot express this model: {fault}; nothing '
                        'was written')
    official: OrderedDict[str, Tensor] = OrderedDict()
    for own, value in state.items():
        official[names[own]] = value
        convolution = own.removesuffix('.conv_offset.weight')
        if convolution != own and f'{convolution}.bias' not in state:
            weight = f'{convolution}.weight'
            official[f'{names[weight].removesuffix("weight")}bias'] = torch.zeros_like(
                state[weight][:, 0, 0, 0])
    official.update(checkpoint.get(UNUSED) or _unused_projections(official))
    return dict(epoch=checkpoint['meta'].get('epoch', 0), state_dict=official)


def _unused_projections(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the projections of DLA's trees of two levels, which the original does not use."""
    return {
        name.replace('.tree1.project.', '.project.'): value.clone()
        for name, value in official.items() if name.count('.tree1.project.') == 1}


def _why_not(state: Mapping[str, Tensor], head: CenterHead) -> str:
    """Explain which part of a model has no counterpart in the original."""
    named = official_branches(head).values()
    others = [name for name in head.branches if name not in named]
    if others:
        return f'it does not have the branch {" or ".join(others)}'
    if any('.heatmap.3.' in name for name in state):
        return 'its head has batch norm'
    if any(name.startswith('neck.inputs.') for name in state):
        return 'its neck begins with 1x1 convolutions'
    return ('the original has ResNets with deconvolutions of 256/256/256 channels, or of '
            '256/128/64 channels with DCNv2, DLA-34 with DCNv2, and Hourglass-104')


def _other_computation(model: BaseDetector, source: Source) -> str:
    """Explain how the model differs from the source's network despite the same parameters.

    Args:
        model (BaseDetector): The config's model.
        source (Source): The kind of checkpoint that the weights are from or for.

    Returns:
        str: A clause, empty if no difference is known.
    """
    backbone = model.backbone
    if source.resnet_style is None or not isinstance(backbone, ResNet):
        return ''
    expected: dict[str, Any] = dict(
        strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), avg_down=False, dcn=None, plugins=None)
    if backbone.block.expansion > 1:
        expected['style'] = source.resnet_style
    for name, value in expected.items():
        if getattr(backbone, name) != value:
            return (f'its backbone has {name}={getattr(backbone, name)!r} where {source.title} '
                    f'has {value!r}')
    padding = 1 if source.resnet_style == 'pytorch' else 0
    if backbone.maxpool.padding != padding:
        return (f'its backbone pads {backbone.maxpool.padding} cells before max pooling where '
                f'{source.title} pads {padding}')
    return ''


def _build_model(config: Config) -> BaseDetector:
    init_default_scope(config.get('default_scope', 'mmdet'))
    settings = copy.deepcopy(config.model)
    # The weights come from the file; no initial weights are downloaded.
    for part in (settings, *settings.values()):
        if isinstance(part, dict):
            part.pop('init_cfg', None)
    return MODELS.build(settings)


def _build_empty_model(config: Config) -> BaseDetector:
    """Build the model without storage, unless its constructors compute with values."""
    try:
        with torch.device('meta'):
            return _build_model(config)
    except NotImplementedError:  # torch raises it for operations that need values
        return _build_model(config)


def _advice(
    renamed: Mapping[str, Tensor], source: Source, config: Config | None = None
) -> str:
    """Return a clause that names the configs that fit.

    Args:
        renamed (Mapping[str, Tensor]): The weights with our names.
        source (Source): The kind of checkpoint that they are from.
        config (Config, optional): A config that does not fit, perhaps because of its number of
            classes.
    """
    counts = _counts(renamed)
    if config is not None and _fits_with(counts, config, _without_storage(renamed)):
        return f'it fits with {_options(counts, [config])}'
    same, others = fitting_configs(renamed, source)
    if same:
        return f'it fits {shorten(same, 4)}'
    if others:
        return f'it fits {shorten(others, 4)} with {_options(counts, others.values())}'
    return "none of the package's configs fits it"


def _counts(renamed: Mapping[str, Tensor]) -> dict[str, int]:
    """Return the settings of a head that determine the channels of its branches."""
    architecture = architecture_of(renamed)
    counts = dict(num_classes=architecture.num_classes,
                  num_keypoints=architecture.num_keypoints)
    return {name: count for name, count in counts.items() if count}


def _fits_with(counts: dict[str, int], config: Config, empty: Mapping[str, Tensor]) -> bool:
    """Return True if the config's model takes the weights once its head has these counts."""
    if not counts.keys() <= config.model.bbox_head.keys():
        return False
    other = copy.deepcopy(config)
    other.model.bbox_head.update(counts)
    return load_state(_build_empty_model(other), empty, assign=True).complete


def _options(counts: dict[str, int], configs: Iterable[Config]) -> str:
    """Return the command-line options that give the heads of configs these counts."""
    heads = [config.model.bbox_head for config in configs]
    return ' '.join(['--cfg-options', *(
        f'model.bbox_head.{name}={count}' for name, count in counts.items()
        if any(head[name] != count for head in heads))])


def fitting_configs(
    renamed: Mapping[str, Tensor], source: Source
) -> tuple[list[str], dict[str, Config]]:
    """Find the package's configs whose model takes the weights.

    Args:
        renamed (Mapping[str, Tensor]): Weights with our names.
        source (Source): The kind of checkpoint that they are from; configs that feed the color
            channels in the other order are left out.

    Returns:
        tuple[list[str], dict[str, Config]]: Paths of the configs that fit, and, by path, the
        configs that fit with the weights' numbers of classes and keypoints.
    """
    empty = _without_storage(renamed)
    counts = _counts(renamed)
    outcomes: dict[int, str | None] = {}
    same, others = [], {}
    for path, config, model in _shipped_models():
        if color_note(config, source):
            continue
        if id(model) not in outcomes:
            outcomes[id(model)] = _fits(config, model, empty, source, counts)
        if outcomes[id(model)] == 'whole':
            same.append(path)
        elif outcomes[id(model)]:
            others[path] = config
    return same, others


def _fits(
    config: Config,
    model: BaseDetector,
    empty: Mapping[str, Tensor],
    source: Source,
    counts: dict[str, int],
) -> str | None:
    """Return ``'whole'``, ``'except for counts'`` (of classes and keypoints) or None."""
    outcome = load_state(model, empty, assign=True)
    if outcome.missing or outcome.unexpected or _other_computation(model, source):
        return None
    if not outcome.mismatched:
        return 'whole'
    only_channels = all(name.startswith(_BRANCHES) and theirs[1:] == own[1:]
                        for name, (theirs, own) in outcome.mismatched.items())
    return 'except for counts' if only_channels and _fits_with(counts, config, empty) else None


@cache
def _shipped_models() -> list[tuple[str, Config, BaseDetector]]:
    """Return the path, config and model without storage of all of the package's configs.

    Configs of equal models share one.
    """
    installed = _PACKAGE / '.mim' / 'configs'
    folder = installed.resolve() if installed.is_dir() else _PACKAGE.parent / 'configs'
    found: list[tuple[str, Config, BaseDetector]] = []
    models: dict[str, BaseDetector] = {}
    for path in sorted(folder.rglob('*.py')):
        if '_base_' in path.parts:
            continue
        config = Config.fromfile(path)
        parts = str([config.model.get(part) for part in ('backbone', 'neck', 'bbox_head')])
        if parts not in models:
            models[parts] = _build_empty_model(config)
        found.append((os.path.relpath(path), config, models[parts]))
    return found


def _without_storage(weights: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Return weights as tensors without storage, which have only names and shapes."""
    return OrderedDict((name, value.to('meta')) for name, value in weights.items())


def describe(source_path: str) -> str:
    """Describe in one line what a checkpoint is and which configs its weights fit.

    Args:
        source_path (str): The checkpoint.

    Raises:
        UserError: If the file cannot be read or is of an unknown kind.
    """
    _, renamed, source = read_renamed(source_path)
    architecture = architecture_of(renamed)
    return (f'{source_path} is a checkpoint of {source.title}: {architecture}; '
            f'{_advice(renamed, source)}')


def dataset_meta(
    meta: Mapping[str, Any], config: Config, num_classes: int, num_keypoints: int | None = None
) -> dict[str, Any] | None:
    """Find the names of a model's classes and, for a pose model, of its keypoints.

    Args:
        meta (Mapping): The source checkpoint's ``meta``, which is searched first.
        config (Config): The datasets of this config are searched next.
        num_classes (int): The model's number of classes; any other number of names is skipped.
        num_keypoints (int, optional): The model's number of keypoints, if it has any.

    Returns:
        dict | None: ``classes``, ``palette`` and ``attributes`` if known, and, for a pose model,
        the skeleton if known, all as plain data. None if the classes have no names.
    """
    candidates = [meta.get('dataset_meta')]
    if meta.get('CLASSES'):  # mmdet 2
        candidates.append(dict(classes=meta['CLASSES'], palette=meta.get('PALETTE')))
    for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        dataset = (config.get(loader) or {}).get('dataset') or {}
        while 'dataset' in dataset:
            dataset = dataset['dataset']
        candidates.append(_metainfo_of(dataset))
    for candidate in candidates:
        names = {k.lower(): v for k, v in (candidate or {}).items()}
        if not isinstance(names.get('classes'), (list, tuple)) or len(
                names['classes']) != num_classes:
            continue
        skeleton = _skeleton_of(names)
        if num_keypoints and skeleton and num_keypoints not in keypoint_counts(skeleton):
            continue
        found: dict[str, Any] = dict(classes=tuple(names['classes']))
        palette = names.get('palette')
        if isinstance(palette, (list, tuple)) and len(palette) >= num_classes:
            found['palette'] = [tuple(color) for color in palette[:num_classes]]
        if num_keypoints:
            found.update(skeleton)
        if names.get('attributes'):
            found['attributes'] = _plain(names['attributes'])
        return found
    return None


def keypoint_counts(metainfo: Mapping[str, Any]) -> set[int]:
    """Return the numbers of keypoints of the skeletons in metainfo."""
    skeletons = metainfo.get('skeletons', {}).values()
    return {each['num_keypoints'] for each in (metainfo, *skeletons) if 'num_keypoints' in each}


def rename_skeletons(metainfo: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Return what metainfo says of keypoints, for the same classes by other names."""
    found = {key: metainfo[key] for key in SKELETON_KEYS if key in metainfo}
    if 'skeletons' in found:
        names = dict(zip(metainfo['classes'], classes, strict=True))
        found['skeletons'] = {names[name]: each for name, each in found['skeletons'].items()}
    return found


def _skeleton_of(metainfo: Mapping[str, Any]) -> dict[str, Any]:
    """Return the skeleton in metainfo as plain data, empty if there is none."""
    if not metainfo.get('num_keypoints'):
        return {}
    return {key: _plain(metainfo[key]) for key in SKELETON_KEYS if key in metainfo}


def _plain(value: Any) -> Any:
    """Convert a value to numbers and strings in Python's own containers."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return type(value)(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _metainfo_of(dataset: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the metainfo of a config's dataset that is known without its annotation file."""
    metainfo: dict[str, Any] | None = dataset.get('metainfo')
    kind: Any = dataset.get('type')
    if isinstance(kind, str):
        from mmdet.registry import DATASETS
        scope = DefaultScope.get_current_instance()
        with DATASETS.switch_scope_and_registry(
                scope.scope_name if scope else 'mmdet') as registry:
            kind = registry.get(kind)
    if isinstance(kind, type) and issubclass(kind, BaseDataset):
        metainfo = kind._load_metainfo(copy.deepcopy(metainfo))  # type: ignore[attr-defined]
    return metainfo


def check_target(path: str, source_path: str) -> None:
    """Check that a checkpoint can be written, before any work is done.

    Args:
        path (str): The file to write.
        source_path (str): The checkpoint that is read and must not be overwritten.

    Raises:
        UserError: If the name, the folder or the file is not suitable.
    """
    if not path.endswith('.pth'):
        raise UserError(f'{path} does not have the extension of a checkpoint: name it *.pth')
    if os.path.isdir(path):
        raise UserError(f'{path} is a folder: name a file to write')
    if os.path.exists(path) and os.path.exists(source_path) and os.path.samefile(
            path, source_path):
        raise UserError(f'{path} is the checkpoint to read: write to another file')


def write_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint; a partial file is discarded.

    Args:
        checkpoint (dict): The content to save.
        path (str | PathLike): Its folder is created; an existing file is replaced once the new
            one is complete.

    Raises:
        UserError: If it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
    except OSError as error:
        raise UserError(f'{path} cannot be written: {error.strerror}') from error
    try:
        with os.fdopen(handle, 'wb') as file:
            torch.save(checkpoint, file)
        # mkstemp creates files for their owner alone; set the permissions that open() sets.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise UserError(f'{path} cannot be written: {error.strerror}') from error
        raise
