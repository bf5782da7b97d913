"""Parameter names of other CenterNets and of ours, in tables that work in both directions.

The names of the heads' branches come from their records (:class:`Branch`): each table is a
function of ``branches``, which maps the names of CenterNet (Zhou et al.), the original
implementation, to ours.
"""
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import torch

from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.dense_heads.centernet_head import CenterNetHead
from mmdet_centernet.models.dense_heads.centernet_mono3d_head import CenterNetMono3DHead
from mmdet_centernet.models.dense_heads.centernet_pose_head import CenterNetPoseHead

Pairs = Iterator[tuple[str, str]]

_FIELD = re.compile(r'<(\d*)([a-z])(?:\+(\d+))?>|<(\*|leaf)>')


class _Template:
    """Parameter name with fields.

    ``<n>`` is a number, ``<3n+1>`` three times that number plus one, ``<leaf>`` the last part
    of a name, without dots, and ``<*>`` any rest of a name.
    """

    def __init__(self, text: str) -> None:
        pattern, start = '', 0
        self._fields: list[tuple[str, int, int]] = []
        for field in _FIELD.finditer(text):
            factor, letter, shift, rest = field.groups()
            number = '([^.]+)' if rest == 'leaf' else '(.+)' if rest else r'(\d+)'
            pattern += re.escape(text[start:field.start()]) + number
            self._fields.append((rest or letter, int(factor or 1), int(shift or 0)))
            start = field.end()
        self._pattern = re.compile(pattern + re.escape(text[start:]))
        self._parts = _FIELD.sub('{}', text)

    def read(self, name: str) -> dict[str, str | int] | None:
        """Return the fields' values in a name, None if the name does not match."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        values: dict[str, str | int] = {}
        for text, (field, factor, shift) in zip(match.groups(), self._fields, strict=True):
            if field in ('*', 'leaf'):
                values[field] = text
                continue
            number, remainder = divmod(int(text) - shift, factor)
            if number < 0 or remainder:
                return None
            values[field] = number
        return values

    def write(self, values: Mapping[str, str | int]) -> str:
        """Return the name with these values in its fields."""
        return self._parts.format(*(
            value if isinstance(value := values[field], str) else factor * value + shift
            for field, factor, shift in self._fields))


class NameTable:
    """Table of name templates, theirs and ours; the first that matches a name is used.

    Args:
        pairs (Iterable[tuple[str, str]]): Templates with the same fields on both sides.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(_Template(theirs), _Template(ours)) for theirs, ours in pairs]

    def to_ours(self, name: str) -> str | None:
        """Return our name of their parameter, None if the table has none."""
        return self._translate(name, 0, 1)

    def to_theirs(self, name: str) -> str | None:
        """Return their name of our parameter, None if the table has none."""
        return self._translate(name, 1, 0)

    def _translate(self, name: str, source: int, target: int) -> str | None:
        for pair in self._pairs:
            values = pair[source].read(name)
            if values is not None:
                return pair[target].write(values)
        return None


def official_branches(head: CenterHead) -> dict[str, str]:
    """Return the original implementation's names of a head's branches, and ours.

    If several branches have the same name there, the first one gets it.
    """
    names: dict[str, str] = {}
    for name, branch in head.branches.items():
        if branch.official_name:
            names.setdefault(branch.official_name, name)
    return names


@cache
def published_branches() -> dict[str, str]:
    """Return the original implementation's names of all published heads' branches, and ours.

    They serve where a checkpoint is recognized before there is a model.
    """
    with torch.device('meta'):
        heads = (CenterNetHead(1, 1, 1), CenterNetPoseHead(), CenterNetMono3DHead())
    return {theirs: ours for head in heads for theirs, ours in official_branches(head).items()}


def _aggregation(theirs: str, ours: str) -> Pairs:
    """Yield the names of an IDA-Up of the original's DLA.

    The original counts from 1, after the map that the others are fused into.
    """
    for their_part, our_part in (('proj', 'projections'), ('node', 'nodes')):
        module, layer = f'{theirs}.{their_part}_<j+1>', f'{ours}.{our_part}.<j>'
        yield f'{module}.conv.conv_offset_mask.<leaf>', f'{layer}.conv.conv_offset.<leaf>'
        yield f'{module}.conv.<leaf>', f'{layer}.conv.<leaf>'
        yield f'{module}.actf.0.<leaf>', f'{layer}.bn.<leaf>'
    yield f'{theirs}.up_<j+1>.<leaf>', f'{ours}.upsamples.<j>.<leaf>'


def _deconvolutions(theirs: str) -> Pairs:
    """Yield the names of the deconvolutions behind a ResNet.

    Convolution, batch norm and ReLU have a number each there and one number together here. The
    original's offsets and masks are in mmcv's order: pairs (y, x), then masks.
    """
    yield (f'{theirs}.<3k>.conv_offset_mask.<leaf>',
           'neck.deconv_layers.<k>.conv.conv_offset.<leaf>')
    yield f'{theirs}.<3k>.<leaf>', 'neck.deconv_layers.<k>.conv.<leaf>'
    yield f'{theirs}.<3k+1>.<leaf>', 'neck.deconv_layers.<k>.bn.<leaf>'


def _head(branches: Mapping[str, str]) -> Pairs:
    """Yield the names of a head's two convolutions for each branch."""
    for theirs, ours in branches.items():
        for layer in (0, 2):
            yield f'{theirs}.{layer}.<leaf>', f'bbox_head.stacks.0.{ours}.{layer}.<leaf>'


def resnet_table(branches: Mapping[str, str]) -> NameTable:
    """Return the names of the original's ResNets."""
    return NameTable([
        *((f'{part}.<*>', f'backbone.{part}.<*>') for part in ('conv1', 'bn1', 'layer<n>')),
        *_deconvolutions('deconv_layers'),
        *_head(branches),
    ])


def dla_table(branches: Mapping[str, str]) -> NameTable:
    """Return the names of the original's DLA."""
    return NameTable([
        ('base.<*>', 'backbone.<*>'),
        *_aggregation('dla_up.ida_<i>', 'neck.rounds.<i>'),
        *_aggregation('ida_up', 'neck.fuse'),
        *_head(branches),
    ])


def hourglass_table(branches: Mapping[str, str]) -> NameTable:
    """Return the names of the original's Hourglass."""
    return NameTable([
        ('pre.0.<*>', 'backbone.stem.0.<*>'),
        ('pre.1.skip.<*>', 'backbone.stem.1.0.downsample.<*>'),
        ('pre.1.<*>', 'backbone.stem.1.0.<*>'),
        ('kps.<s>.<*>.skip.<n>.<leaf>',
         'backbone.hourglass_modules.<s>.<*>.downsample.<n>.<leaf>'),
        ('kps.<s>.<*>', 'backbone.hourglass_modules.<s>.<*>'),
        ('cnvs.<s>.<*>', 'backbone.out_convs.<s>.<*>'),
        ('inters.<s>.<*>', 'backbone.inters.<s>.<*>'),
        ('inters_.<s>.0.<leaf>', 'backbone.conv1x1s.<s>.conv.<leaf>'),
        ('inters_.<s>.1.<leaf>', 'backbone.conv1x1s.<s>.bn.<leaf>'),
        ('cnvs_.<s>.0.<leaf>', 'backbone.remap_convs.<s>.conv.<leaf>'),
        ('cnvs_.<s>.1.<leaf>', 'backbone.remap_convs.<s>.bn.<leaf>'),
        *(pair for theirs, ours in branches.items() for pair in (
            (f'{theirs}.<s>.0.conv.<leaf>', f'bbox_head.stacks.<s>.{ours}.0.<leaf>'),
            (f'{theirs}.<s>.1.<leaf>', f'bbox_head.stacks.<s>.{ours}.2.<leaf>'))),
    ])


def bubbliiiing_table(branches: Mapping[str, str]) -> NameTable:
    """Return the names of bubbliiiing's ResNet-50, which calls the heatmap ``cls``."""
    theirs = {ours: 'cls' if ours == 'heatmap' else name for name, ours in branches.items()}
    return NameTable([
        ('backbone.0.<leaf>', 'backbone.conv1.<leaf>'),
        ('backbone.1.<leaf>', 'backbone.bn1.<leaf>'),
        ('backbone.<n+3>.<*>', 'backbone.layer<n>.<*>'),
        *_deconvolutions('decoder.deconv_layers'),
        *((f'head.{name}_head.<n>.<leaf>', f'bbox_head.stacks.0.{ours}.<n>.<leaf>')
          for ours, name in theirs.items()),
    ])


def mmdetection_table(branches: Mapping[str, str]) -> NameTable:
    """Return the names of MMDetection's CenterNet, which are our branches' with ``_head``."""
    return NameTable([
        *((f'bbox_head.{ours}_head.<n>.<leaf>', f'bbox_head.stacks.0.{ours}.<n>.<leaf>')
          for ours in branches.values()),
        # mmcv before 1.3 kept the offsets' convolution next to the deformable one, not inside.
        ('neck.deconv_layers.<k>.conv_offset.<leaf>',
         'neck.deconv_layers.<k>.conv.conv_offset.<leaf>'),
        ('backbone.<*>', 'backbone.<*>'),
        ('neck.<*>', 'neck.<*>'),
    ])
