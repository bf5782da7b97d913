"""Parameter names of other CenterNets and of ours, in tables that are read both ways."""
import re

# The branches of the original's heads, of all its tasks -> ours.
BRANCHES = {
    'hm': 'heatmap', 'wh': 'wh', 'reg': 'offset',
    'hps': 'keypoint_displacement', 'hm_hp': 'keypoint_heatmap', 'hp_offset': 'keypoint_offset',
    'dep': 'depth', 'rot': 'orientation', 'dim': 'dims',
}

_FIELD = re.compile(r'<(\d*)([a-z])(?:\+(\d+))?>|<(\*|leaf)>')


class _Template:
    """A name with fields: ``<n>`` is a number, ``<3n+1>`` three times that number and one,
    ``<leaf>`` a last part without dots, ``<*>`` whatever follows."""

    def __init__(self, text):
        pattern, self._fields, start = '', [], 0
        for field in _FIELD.finditer(text):
            factor, letter, shift, rest = field.groups()
            number = '([^.]+)' if rest == 'leaf' else '(.+)' if rest else r'(\d+)'
            pattern += re.escape(text[start:field.start()]) + number
            self._fields.append((rest or letter, int(factor or 1), int(shift or 0)))
            start = field.end()
        self._pattern = re.compile(pattern + re.escape(text[start:]))
        self._parts = _FIELD.sub('{}', text)

    def read(self, name):
        """The fields' values within a name, None if it is no such name."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        values = {}
        for text, (field, factor, shift) in zip(match.groups(), self._fields, strict=True):
            if field in ('*', 'leaf'):
                values[field] = text
                continue
            number, remainder = divmod(int(text) - shift, factor)
            if number < 0 or remainder:
                return None
            values[field] = number
        return values

    def write(self, values):
        """The name with these values in its fields."""
        return self._parts.format(*(
            values[field] if field in ('*', 'leaf') else factor * values[field] + shift
            for field, factor, shift in self._fields))


class NameTable:
    """Pairs of name templates, theirs and ours; the first that fits a name is taken.

    Args:
        pairs (Iterable[tuple[str, str]]): Both sides hold the same fields.
    """

    def __init__(self, pairs):
        self._pairs = [(_Template(theirs), _Template(ours)) for theirs, ours in pairs]

    def to_ours(self, name):
        """Our name of their parameter, None if the table has none."""
        return self._translate(name, 0, 1)

    def to_theirs(self, name):
        """Their name of our parameter, None if the table has none."""
        return self._translate(name, 1, 0)

    def _translate(self, name, source, target):
        for pair in self._pairs:
            values = pair[source].read(name)
            if values is not None:
                return pair[target].write(values)
        return None


def _aggregation(theirs, ours):
    """An IDA-Up of the original's DLA; it counts from 1, after the map fused to."""
    for their_part, our_part in (('proj', 'projections'), ('node', 'nodes')):
        module, layer = f'{theirs}.{their_part}_<j+1>', f'{ours}.{our_part}.<j>'
        yield f'{module}.conv.conv_offset_mask.<leaf>', f'{layer}.conv.conv_offset.<leaf>'
        yield f'{module}.conv.<leaf>', f'{layer}.conv.<leaf>'
        yield f'{module}.actf.0.<leaf>', f'{layer}.bn.<leaf>'
    yield f'{theirs}.up_<j+1>.<leaf>', f'{ours}.upsamples.<j>.<leaf>'


def _deconvolutions(theirs):
    """Convolution, batch norm and ReLU are numbered one by one there, together here. The
    original's offsets and masks come in mmcv's order: pairs (y, x), then masks."""
    yield (f'{theirs}.<3k>.conv_offset_mask.<leaf>',
           'neck.deconv_layers.<k>.conv.conv_offset.<leaf>')
    yield f'{theirs}.<3k>.<leaf>', 'neck.deconv_layers.<k>.conv.<leaf>'
    yield f'{theirs}.<3k+1>.<leaf>', 'neck.deconv_layers.<k>.bn.<leaf>'


_HEAD = [
    (f'{theirs}.{layer}.<leaf>', f'bbox_head.stacks.0.{ours}.{layer}.<leaf>')
    for theirs, ours in BRANCHES.items() for layer in (0, 2)]

RESNET = NameTable([
    *((f'{part}.<*>', f'backbone.{part}.<*>') for part in ('conv1', 'bn1', 'layer<n>')),
    *_deconvolutions('deconv_layers'),
    *_HEAD,
])

DLA = NameTable([
    ('base.<*>', 'backbone.<*>'),
    *_aggregation('dla_up.ida_<i>', 'neck.rounds.<i>'),
    *_aggregation('ida_up', 'neck.fuse'),
    *_HEAD,
])

HOURGLASS = NameTable([
    ('pre.0.<*>', 'backbone.stem.0.<*>'),
    ('pre.1.skip.<*>', 'backbone.stem.1.0.downsample.<*>'),
    ('pre.1.<*>', 'backbone.stem.1.0.<*>'),
    ('kps.<s>.<*>.skip.<n>.<leaf>', 'backbone.hourglass_modules.<s>.<*>.downsample.<n>.<leaf>'),
    ('kps.<s>.<*>', 'backbone.hourglass_modules.<s>.<*>'),
    ('cnvs.<s>.<*>', 'backbone.out_convs.<s>.<*>'),
    ('inters.<s>.<*>', 'backbone.inters.<s>.<*>'),
    ('inters_.<s>.0.<leaf>', 'backbone.conv1x1s.<s>.conv.<leaf>'),
    ('inters_.<s>.1.<leaf>', 'backbone.conv1x1s.<s>.bn.<leaf>'),
    ('cnvs_.<s>.0.<leaf>', 'backbone.remap_convs.<s>.conv.<leaf>'),
    ('cnvs_.<s>.1.<leaf>', 'backbone.remap_convs.<s>.bn.<leaf>'),
    *(pair for theirs, ours in BRANCHES.items() for pair in (
        (f'{theirs}.<s>.0.conv.<leaf>', f'bbox_head.stacks.<s>.{ours}.0.<leaf>'),
        (f'{theirs}.<s>.1.<leaf>', f'bbox_head.stacks.<s>.{ours}.2.<leaf>'))),
])

BUBBLIIIING_RESNET = NameTable([
    ('backbone.0.<leaf>', 'backbone.conv1.<leaf>'),
    ('backbone.1.<leaf>', 'backbone.bn1.<leaf>'),
    ('backbone.<n+3>.<*>', 'backbone.layer<n>.<*>'),
    *_deconvolutions('decoder.deconv_layers'),
    *((f'head.{theirs}_head.<n>.<leaf>', f'bbox_head.stacks.0.{ours}.<n>.<leaf>')
      for theirs, ours in (('cls', 'heatmap'), ('wh', 'wh'), ('reg', 'offset'))),
])

MMDETECTION = NameTable([
    *((f'bbox_head.{ours}_head.<n>.<leaf>', f'bbox_head.stacks.0.{ours}.<n>.<leaf>')
      for ours in ('wh', 'offset')),
    ('bbox_head.heatmap_head.<n>.<leaf>', 'bbox_head.stacks.0.heatmap.<n>.<leaf>'),
    # mmcv before 1.3 kept the offsets' convolution beside the deformable one, not within.
    ('neck.deconv_layers.<k>.conv_offset.<leaf>',
     'neck.deconv_layers.<k>.conv.conv_offset.<leaf>'),
    ('backbone.<*>', 'backbone.<*>'),
    ('neck.<*>', 'neck.<*>'),
])
