"""Recognition of a network's architecture from the names and shapes of its weights."""
import re
from collections.abc import Mapping
from dataclasses import dataclass

from mmdet.models.backbones import ResNet
from torch import Tensor

from mmdet_centernet.models.backbones.dla import VARIANTS as DLA_VARIANTS
from mmdet_centernet.models.backbones.dla import Bottleneck
from mmdet_centernet.models.properties.keypoints import Keypoints

Shapes = Mapping[str, tuple[int, ...]]

# Deconvolutions of the original's ResNets: widths, and the kind of 3x3 convolution before each.
_OFFICIAL_NECKS: dict[tuple[tuple[int, ...], str | None], str] = {
    ((256, 256, 256), None): 'res', ((256, 128, 64), 'DCNv2'): 'resdcn'}
_HOURGLASS_LAYERS = 52  # of one stack


@dataclass(frozen=True)
class Architecture:
    """Architecture of a CenterNet.

    Attributes:
        backbone (str): ``'ResNet-18'``, ``'DLA-34'``, ``'Hourglass-104'``, ...
        neck (str): Empty if there is none.
        head_width (int): Channels inside the branches; 0 if there is no heatmap.
        num_classes (int): 0 if there is no heatmap.
        branches (tuple[str, ...]): Our names of the head's branches.
        official_name (str | None): ``--arch`` of CenterNet (Zhou et al.), the original
            implementation; None if it does not have this network.
        num_keypoints (int): Number of keypoints of a pose model, otherwise 0.
    """

    backbone: str
    neck: str
    head_width: int
    num_classes: int
    branches: tuple[str, ...]
    official_name: str | None
    num_keypoints: int = 0

    def __str__(self) -> str:
        """Describe the architecture for the user."""
        neck = f'{self.neck}, ' if self.neck else ''
        keypoints = f', {self.num_keypoints} keypoints' if self.num_keypoints else ''
        return (f'{self.backbone}, {neck}heads {self.head_width} wide for '
                f'{", ".join(self.branches)}, {self.num_classes} '
                f'class{"es" if self.num_classes != 1 else ""}{keypoints}')


def architecture_of(weights: Mapping[str, Tensor]) -> Architecture:
    """Recognize the architecture of a model.

    Args:
        weights (Mapping[str, Tensor]): The model's weights, with our names.

    Returns:
        Architecture: Unknown parts are described.
    """
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    branches, width = _head(shapes)
    backbone, neck = 'another backbone', ''
    official_name = None
    if 'backbone.layer1.0.conv1.weight' in shapes:
        backbone = _resnet(shapes)
    elif 'backbone.level0.0.weight' in shapes:
        backbone = _dla(shapes)
    elif 'backbone.hourglass_modules.0.up1.0.conv1.weight' in shapes:
        backbone = f'Hourglass-{_HOURGLASS_LAYERS * _count(shapes, "backbone.hourglass_modules")}'
        deepest = f'backbone.hourglass_modules.0.{"low2." * 4}low1.0.conv1.weight'
        if (backbone, width) == ('Hourglass-104', 256) and shapes.get(deepest, (0, ))[0] == 512:
            official_name = 'hourglass'
    if _count(shapes, 'neck.deconv_layers'):
        filters, before = _deconvolutions(shapes)
        neck = (f'deconvolutions of {"/".join(map(str, filters))} channels'
                + (f' with {before}' if before else ''))
        prefix = _OFFICIAL_NECKS.get((filters, before))
        if prefix and backbone.startswith('ResNet-'):
            official_name = f'{prefix}_{backbone.removeprefix("ResNet-")}'
    elif _count(shapes, 'neck.rounds'):
        deformable = 'neck.fuse.nodes.0.conv.conv_offset.weight' in shapes
        projected = bool(_count(shapes, 'neck.inputs'))
        neck = (f'DLA-Up with {"DCNv2" if deformable else "plain convolutions"}'
                + (' behind 1x1 convolutions' if projected else ''))
        if backbone == 'DLA-34' and deformable and not projected:
            official_name = 'dla_34'
    return Architecture(
        backbone, neck, width, branches.get('heatmap', 0), tuple(branches), official_name,
        branches.get(Keypoints().displacement, 0) // 2)


def _count(shapes: Shapes, prefix: str) -> int:
    """Count the numbered modules below ``prefix``."""
    found = (re.match(rf'{re.escape(prefix)}\.(\d+)\.', name) for name in shapes)
    return len({match.group(1) for match in found if match})


def _head(shapes: Shapes) -> tuple[dict[str, int], int]:
    """Return the number of channels of each branch, and the width inside the branches."""
    branches: dict[str, int] = {}
    width = 0
    for name, shape in shapes.items():
        match = re.fullmatch(r'bbox_head\.stacks\.0\.(\w+)\.(\d+)\.weight', name)
        if match and len(shape) == 4:
            branch, layer = match.groups()
            if layer != '0':
                branches[branch] = shape[0]
            elif branch == 'heatmap':
                width = shape[0]
    return branches, width


def _resnet(shapes: Shapes) -> str:
    blocks = tuple(_count(shapes, f'backbone.layer{n}') for n in (1, 2, 3, 4))
    bottleneck = 'backbone.layer1.0.conv3.weight' in shapes
    for depth, (block, counts) in ResNet.arch_settings.items():
        if counts == blocks and (block.expansion > 1) == bottleneck:
            return f'ResNet-{depth}'
    return f'a ResNet of {"+".join(map(str, blocks))} blocks'


def _dla(shapes: Shapes) -> str:
    levels = [name for name in (f'backbone.level{n}.' for n in range(2, 6))
              if any(key.startswith(name) for key in shapes)]
    depths, widths = [], []
    for level in levels:
        first = max((key for key in shapes if re.fullmatch(
            re.escape(level) + r'(tree1\.)+conv1\.weight', key)), key=len, default='')
        depths.append(first.count('tree1.'))
        last_root = level + 'tree2.' * (depths[-1] - 1) + 'root.conv.weight'
        widths.append(shapes.get(last_root, (0, ))[0])
    bottleneck = any(name.endswith('.conv3.weight') for name in shapes)
    for name, variant in DLA_VARIANTS.items():
        if (list(variant.depths[2:]), list(variant.channels[2:])) == (depths, widths) and (
                variant.block is Bottleneck) == bottleneck:
            return name.upper().replace('DLA', 'DLA-')
    return f'a DLA with levels of {"/".join(map(str, widths))} channels'


def _deconvolutions(shapes: Shapes) -> tuple[tuple[int, ...], str | None]:
    """Return the output channels of each step, and the kind of convolution before each."""
    filters: list[int] = []
    before = None
    for number in range(_count(shapes, 'neck.deconv_layers')):
        conv = f'neck.deconv_layers.{number}.conv'
        shape = shapes.get(f'{conv}.weight', (0, 0, 0))
        if f'{conv}.conv_offset.weight' in shapes:
            before = 'DCNv2'
        elif shape[2] == 3:
            before = 'plain 3x3 convolutions'
        else:
            filters.append(shape[1])
    return tuple(filters), before
