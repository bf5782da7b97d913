"""Turn the checkpoints of other CenterNets into this package's, and back."""
import copy
import os
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mmdet.models.backbones import ResNet
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope, init_default_scope

from mmdet_centernet.checkpoints import parameter_names
from mmdet_centernet.checkpoints.architecture import architecture_of
from mmdet_centernet.checkpoints.read import load_state, read_checkpoint, shorten, state_dict_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties import Keypoints
from mmdet_centernet.registry import MODELS

COMMAND = 'python tools/model_converters/convert_checkpoint.py'
# Tensors that the original keeps and its network does not use, in the original's names.
UNUSED = 'official_unused'

# What a data set's metainfo says about its skeleton.
SKELETON_KEYS = (
    'num_keypoints', 'keypoint_id2name', 'keypoint_name2id', 'flip_pairs', 'flip_indices',
    'keypoint_colors', 'skeleton_links', 'skeleton_link_colors', 'sigmas', 'skeletons')
# Branches whose channels are as many as classes or joints, or a multiple.
_COUNTED_BRANCHES = ('heatmap', 'wh', 'keypoint_displacement', 'keypoint_heatmap')

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Source:
    """One kind of checkpoint.

    Attributes:
        title (str): Said to the user.
        beginnings (tuple[str, ...]): Names of its parameters begin so, every one of these.
        table (NameTable, optional): Its names and ours; without one they are the same.
        is_original (bool): Whether ``--to official`` writes it.
        bgr (bool, optional): The order of colours that its networks were trained on, if it is
            always the same.
        resnet_style (str, optional): Whether its bottlenecks stride in the 3x3 convolution
            ('pytorch') or in the first 1x1 ('caffe').
    """

    title: str
    beginnings: tuple
    table: parameter_names.NameTable | None = None
    is_original: bool = False
    bgr: bool | None = None
    resnet_style: str | None = None

    def recognise(self, names):
        """Whether a collection of parameter names is of this kind."""
        return all(any(name.startswith(start) for name in names) for start in self.beginnings)

    def rename(self, name):
        """One parameter name to ours; one that the table does not know stays as it is."""
        return self.table and self.table.to_ours(name) or name


_OURS = Source("this package's own CenterNet", ('bbox_head.stacks.', ))
# A further kind is one more entry; the first that recognises the file is taken.
SOURCES = (
    _OURS,
    Source("MMDetection's CenterNet",
           ('bbox_head.heatmap_head.', 'bbox_head.wh_head.', 'bbox_head.offset_head.'),
           parameter_names.MMDETECTION, bgr=False),
    Source("bubbliiiing's CenterNet (ResNet-50)", ('decoder.deconv_layers.', 'head.cls_head.'),
           parameter_names.BUBBLIIIING_RESNET, bgr=True, resnet_style='caffe'),
    Source('the original CenterNet (ResNet)', ('layer1.', 'deconv_layers.', 'hm.'),
           parameter_names.RESNET, is_original=True, bgr=True, resnet_style='pytorch'),
    Source('the original CenterNet (DLA)', ('base.level5.', 'dla_up.', 'ida_up.', 'hm.'),
           parameter_names.DLA, is_original=True, bgr=True),
    # bubbliiiing's Hourglass has the same names and computes the same.
    Source('the original CenterNet (Hourglass)', ('kps.', 'cnvs.', 'hm.'),
           parameter_names.HOURGLASS, is_original=True, bgr=True),
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


def hint_for(names):
    """What to tell somebody whose checkpoint does not fit because another program wrote it.

    Args:
        names (Collection[str]): The checkpoint's parameter names.

    Returns:
        str: A clause, empty if the checkpoint is our own or of no known kind.
    """
    for source in SOURCES[1:]:
        if source.recognise(names):
            return (f'it is a checkpoint of {source.title}, which is to be converted first: '
                    f'{COMMAND} CONFIG SRC DST')
    return ''


def read_renamed(source_path):
    """Read a checkpoint and give its parameters our names.

    Args:
        source_path (str): The checkpoint.

    Returns:
        tuple[dict, OrderedDict[str, Tensor], Source]: The file's content, its weights in our
        names (those that the source's table does not know keep theirs), and its kind.

    Raises:
        UserError: If the file cannot be read or is of no known kind.
    """
    content = read_checkpoint(source_path)
    weights = state_dict_of(content, source_path)
    # Weights averaged over the training, as mmdet 2 keeps them beside the others.
    names = [name for name in weights if not name.startswith('ema_')]
    source = recognise(names, source_path)
    renamed = OrderedDict((source.rename(name), weights[name]) for name in names)
    # Layers whose names changed between versions read the versions from here.
    if hasattr(weights, '_metadata'):
        renamed._metadata = weights._metadata
    return content, renamed, source


def convert(config, source_path):
    """Convert a checkpoint's weights to the model of a config.

    Args:
        config (Config): Says which model the weights are for.
        source_path (str): The checkpoint.

    Returns:
        tuple[dict, Source]: A checkpoint of ``meta`` and ``state_dict`` (the source's tensors
        that the model has, all it needs; optimizer and averaged weights left out), with
        ``official_unused`` if the original's file held tensors that no output depends on, and
        what the file was.

    Raises:
        UserError: If the file cannot be read or is of no known kind, or if a tensor is left
            over, missing or has another shape.
    """
    content, renamed, source = read_renamed(source_path)
    model = _build_empty_model(config)
    outcome = load_state(model, renamed, assign=True)
    if not outcome.complete:
        raise UserError(
            f"{source_path} ({source.title}: {architecture_of(renamed)}) does not fit the "
            f"config's model: {outcome.differences()}; nothing was written; "
            f'{_advice(renamed, source, config)}')
    faults = _other_computation(model, source)
    if faults:
        raise UserError(f'{source_path} ({source.title}) has the names and shapes of the '
                        f"config's model, but {faults}; nothing was written; "
                        f'{_advice(renamed, source)}')
    # Batch norm's counters, which old files lack, are the only tensors that may be missing.
    state = OrderedDict((name, value) for name, value in model.state_dict().items()
                        if name in renamed)
    meta = content.get('meta')
    meta = meta if isinstance(meta, dict) else {}
    new_meta = {'converted_from': source.title}
    keypoints = model.bbox_head.find_property(Keypoints)
    names = dataset_meta(meta, config, model.bbox_head.num_classes,
                         keypoints and keypoints.num_keypoints)
    if names:
        new_meta['dataset_meta'] = names
    epoch = content.get('epoch', meta.get('epoch'))
    if isinstance(epoch, int):
        new_meta['epoch'] = epoch
    checkpoint = dict(meta=new_meta, state_dict=state)
    # What the model itself discards while loading.
    unused = content.get(UNUSED) if source is _OURS else OrderedDict(
        (source.table.to_theirs(name), value) for name, value in renamed.items()
        if source.is_original and name not in state)
    if unused:
        checkpoint[UNUSED] = unused
    return checkpoint, source


def colour_note(config, source, back=False):
    """A sentence if model and weights do not agree on the order of colours.

    Args:
        config (Config): Of the model.
        source (Source): What the weights are from.
        back (bool): The weights are on their way to the original.

    Returns:
        str: Empty if all is well.
    """
    to_rgb = (config.model.get('data_preprocessor') or {}).get('bgr_to_rgb', False)
    if back and source.bgr is not True and to_rgb:
        return ("the model was trained on RGB images and the original feeds BGR: give the "
                "original the mean and std of the config's data_preprocessor and RGB images")
    if back or source.bgr is None or source.bgr != to_rgb:
        return ''
    orders = ('BGR', 'RGB') if source.bgr else ('RGB', 'BGR')
    return (f'the weights were trained on {orders[0]} images but the config feeds {orders[1]}: '
            'before testing them, set mean, std and bgr_to_rgb of model.data_preprocessor to '
            'those of the training')


def to_official(checkpoint, config):
    """Give a converted or trained checkpoint the original's names.

    Biases that the original has before batch norms and the model has not are written as
    zeros; tensors that the original keeps without using them come from ``official_unused``,
    else from the tensors beside them of the same shape. So the original loads the file
    strictly.

    Args:
        checkpoint (dict): Of :func:`convert`.
        config (Config): Of its model.

    Returns:
        dict: ``epoch`` and ``state_dict``, as the original writes it.

    Raises:
        UserError: If the original has no such network.
    """
    state = checkpoint['state_dict']
    architecture = architecture_of(state)
    name = architecture.official_name
    sources = [source for source in SOURCES if source.is_original]
    source = next((s for s in sources if name and all(
        s.table.to_theirs(own) is not None for own in state)), None)
    if source is None:
        raise UserError(f'the original CenterNet cannot express this model: {_why_not(state)} '
                        f'({architecture}); nothing was written')
    faults = _other_computation(_build_empty_model(config), source)
    if faults:
        raise UserError(f'the original CenterNet cannot express this model: {faults}; nothing '
                        'was written')
    official = OrderedDict()
    for own, value in state.items():
        official[source.table.to_theirs(own)] = value
        convolution = own.removesuffix('.conv_offset.weight')
        if convolution != own and f'{convolution}.bias' not in state:
            official[source.table.to_theirs(f'{convolution}.bias')] = torch.zeros_like(
                state[f'{convolution}.weight'][:, 0, 0, 0])
    official.update(checkpoint.get(UNUSED) or _unused_projections(official))
    return dict(epoch=checkpoint['meta'].get('epoch', 0), state_dict=official)


def _unused_projections(official):
    """The projections of DLA's trees of two levels, whose result the original throws away."""
    return {
        name.replace('.tree1.project.', '.project.'): value.clone()
        for name, value in official.items() if name.count('.tree1.project.') == 1}


def _why_not(state):
    """What of a model the original has no name for."""
    if any('.heatmap.3.' in name for name in state):
        return 'its head has batch norm'
    if any(name.startswith('neck.inputs.') for name in state):
        return 'its neck begins with 1x1 convolutions'
    return ('the original has ResNets with deconvolutions of 256/256/256 channels, or of '
            '256/128/64 channels with DCNv2, DLA-34 with DCNv2, and Hourglass-104')


def _other_computation(model, source):
    """What the model does otherwise than the source's network with the same parameters.

    Args:
        model (nn.Module): The config's.
        source (Source): What the weights are from, or are to be for.

    Returns:
        str: A clause, empty if the two are the same as far as is known.
    """
    backbone = model.backbone
    if source.resnet_style is None or not isinstance(backbone, ResNet):
        return ''
    expected = dict(strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), avg_down=False, dcn=None,
                    plugins=None)
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


def _build_model(config):
    init_default_scope(config.get('default_scope', 'mmdet'))
    settings = copy.deepcopy(config.model)
    # The weights come from the file; nothing is fetched for their start.
    for part in (settings, *settings.values()):
        if isinstance(part, dict):
            part.pop('init_cfg', None)
    return MODELS.build(settings)


def _build_empty_model(config):
    """The model without storage, unless its constructors compute with values."""
    try:
        with torch.device('meta'):
            return _build_model(config)
    except NotImplementedError:  # of torch, for operations that need values
        return _build_model(config)


def _advice(renamed, source, config=None):
    """Which config fits, as a clause.

    Args:
        renamed (dict[str, Tensor]): The weights in our names.
        source (Source): Where they are from.
        config (Config, optional): One that does not fit, perhaps for its number of classes.
    """
    counts = _counts(renamed)
    if config is not None and counts.keys() <= config.model.bbox_head.keys():
        other = copy.deepcopy(config)
        other.model.bbox_head.update(counts)
        if load_state(
                _build_empty_model(other), _without_storage(renamed), assign=True).complete:
            return f'it fits with {_options(counts, [config])}'
    same, others = fitting_configs(renamed, source)
    if same:
        return f'it fits {shorten(same, 4)}'
    if others:
        return f'it fits {shorten(others, 4)} with {_options(counts, others.values())}'
    return 'none of the configs that ship fits it'


def _counts(renamed):
    """The settings of a head that say how many channels its branches have."""
    architecture = architecture_of(renamed)
    counts = dict(num_classes=architecture.num_classes,
                  num_keypoints=architecture.num_keypoints)
    return {name: count for name, count in counts.items() if count}


def _options(counts, configs):
    """What makes heads of configs have these counts, as command-line options."""
    heads = [config.model.bbox_head for config in configs]
    return ' '.join(['--cfg-options', *(
        f'model.bbox_head.{name}={count}' for name, count in counts.items()
        if any(head[name] != count for head in heads))])


def fitting_configs(renamed, source):
    """The configs that ship with the package whose model takes the weights.

    Args:
        renamed (dict[str, Tensor]): Weights in our names.
        source (Source): Where they are from; configs that feed colours in the other order
            are left out.

    Returns:
        tuple[list[str], dict[str, Config]]: Paths of those that fit, and those that fit once
        they are told the weights' numbers of classes and joints, by path.
    """
    empty = _without_storage(renamed)
    outcomes = {}
    same, others = [], {}
    for path, config, model in _shipped_models():
        if colour_note(config, source):
            continue
        if id(model) not in outcomes:
            outcomes[id(model)] = _fits(model, empty, source)
        if outcomes[id(model)] == 'whole':
            same.append(path)
        elif outcomes[id(model)]:
            others[path] = config
    return same, others


def _fits(model, empty, source):
    """``'whole'``, ``'but for counts'`` (of classes and joints) or None."""
    outcome = load_state(model, empty, assign=True)
    if outcome.missing or outcome.unexpected or _other_computation(model, source):
        return None
    if not outcome.mismatched:
        return 'whole'
    only_counts = all(
        name.startswith('bbox_head.stacks.') and name.split('.')[3] in _COUNTED_BRANCHES
        and theirs[1:] == own[1:] for name, (theirs, own) in outcome.mismatched.items())
    return 'but for counts' if only_counts else None


@cache
def _shipped_models():
    """(path, config, model without storage) of all configs that ship; equal ones share it."""
    installed = _PACKAGE / '.mim' / 'configs'
    folder = installed.resolve() if installed.is_dir() else _PACKAGE.parent / 'configs'
    found, models = [], {}
    for path in sorted(folder.rglob('*.py')):
        if '_base_' in path.parts:
            continue
        config = Config.fromfile(path)
        parts = str([config.model.get(part) for part in ('backbone', 'neck', 'bbox_head')])
        if parts not in models:
            models[parts] = _build_empty_model(config)
        found.append((os.path.relpath(path), config, models[parts]))
    return found


def _without_storage(weights):
    """Names and shapes of weights, as tensors."""
    return OrderedDict((name, value.to('meta')) for name, value in weights.items())


def describe(source_path):
    """Say what a checkpoint is and which config its weights fit.

    Args:
        source_path (str): The checkpoint.

    Returns:
        str: One sentence.

    Raises:
        UserError: If the file cannot be read or is of no known kind.
    """
    _, renamed, source = read_renamed(source_path)
    architecture = architecture_of(renamed)
    return (f'{source_path} is a checkpoint of {source.title}: {architecture}; '
            f'{_advice(renamed, source)}')


def dataset_meta(meta, config, num_classes, num_keypoints=None):
    """What the classes, and the joints of a pose model, are called.

    Args:
        meta (dict): Of the source.
        config (Config): Its data come next.
        num_classes (int): Of the model; names of another number are not its own.
        num_keypoints (int, optional): Of the model, if it has any.

    Returns:
        dict | None: ``classes``, ``palette`` if known, and, for a pose model, the skeleton if
        known; plain data all of it. None if nobody names the classes.
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
        found = dict(classes=tuple(names['classes']))
        palette = names.get('palette')
        if isinstance(palette, (list, tuple)) and len(palette) >= num_classes:
            found['palette'] = [tuple(colour) for colour in palette[:num_classes]]
        if num_keypoints:
            found.update(skeleton)
        return found
    return None


def keypoint_counts(metainfo: dict) -> set[int]:
    """Return the numbers of keypoints of the skeletons in metainfo."""
    skeletons = metainfo.get('skeletons', {}).values()
    return {each['num_keypoints'] for each in (metainfo, *skeletons) if 'num_keypoints' in each}


def rename_skeletons(metainfo: dict, classes: Sequence[str]) -> dict:
    """Return what metainfo says of keypoints, for the same classes by other names."""
    found = {key: metainfo[key] for key in SKELETON_KEYS if key in metainfo}
    if 'skeletons' in found:
        names = dict(zip(metainfo['classes'], classes, strict=True))
        found['skeletons'] = {names[name]: each for name, each in found['skeletons'].items()}
    return found


def _skeleton_of(metainfo):
    """What metainfo says about a skeleton, as plain data; empty if nothing."""
    if not metainfo.get('num_keypoints'):
        return {}
    return {key: _plain(metainfo[key]) for key in SKELETON_KEYS if key in metainfo}


def _plain(value):
    """A value of numbers and text in Python's own containers, which any file may hold."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return type(value)(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _metainfo_of(dataset):
    """What is known of a config's data set without its annotation file."""
    metainfo, kind = dataset.get('metainfo'), dataset.get('type')
    if isinstance(kind, str):
        from mmdet.registry import DATASETS
        scope = DefaultScope.get_current_instance()
        with DATASETS.switch_scope_and_registry(
                scope.scope_name if scope else 'mmdet') as registry:
            kind = registry.get(kind)
    if isinstance(kind, type) and issubclass(kind, BaseDataset):
        return kind._load_metainfo(copy.deepcopy(metainfo))
    return metainfo


def check_target(path, source_path):
    """See whether a checkpoint can be written, before any work.

    Args:
        path (str): The file to write.
        source_path (str): The checkpoint that is read, which stays.

    Raises:
        UserError: If not.
    """
    if not path.endswith('.pth'):
        raise UserError(f'{path} is to be a checkpoint: name it *.pth')
    if os.path.isdir(path):
        raise UserError(f'{path} is a folder: name a file to write')
    if os.path.exists(path) and os.path.exists(source_path) and os.path.samefile(
            path, source_path):
        raise UserError(f'{path} is the checkpoint that is to be read: write to another file')


def write_checkpoint(checkpoint, path):
    """Write a checkpoint whole or not at all.

    Args:
        checkpoint (dict): What is saved.
        path (str | Path): Its folder is made; an existing file is replaced once the new one
            is complete.

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
        # mkstemp makes files for their owner alone; give them what open() would.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError):
            raise UserError(f'{path} cannot be written: {error.strerror}') from error
        raise
