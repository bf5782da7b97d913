"""DLA: the original's outputs, its network written out, published keys, odd sizes."""
import math
import re

import pytest
import torch
from mmengine.runner import checkpoint
from parity_weights import assert_equals_official, seeded_input, seeded_state_dict
from reference.networks import conv_bn_slowly
from torch import nn
from torch.nn import functional as F

from mmdet_centernet.models.backbones import DLA
from mmdet_centernet.models.backbones.dla import VARIANTS
from mmdet_centernet.models.necks import DLAUp

pytestmark = pytest.mark.usefixtures('mmdet_scope')
STRIDES = 2, 4, 8, 16, 32


def neck_name(name):
    """Return the name in DLAUp of a parameter of the original's aggregation."""
    path, kind, number, rest = re.match(r'(.*?)\.(proj|node|up)_(\d+)\.(.*)', name).groups()
    stage = 'fuse' if path == 'ida_up' else path.replace('dla_up.ida_', 'rounds.')
    part = dict(proj='projections', node='nodes', up='upsamples')[kind]
    rest = rest.replace('actf.0', 'bn').replace('conv_offset_mask', 'conv_offset')
    return f'{stage}.{part}.{int(number) - 1}.{rest}'


def test_equals_the_original():
    """DLA-34 and its neck on the original's weights give the original's outputs."""
    state = seeded_state_dict('ctdet/dla_34')
    backbone = DLA().eval()
    neck = DLAUp(backbone.out_channels, (4, 8, 16, 32), conv_bias=True).eval()
    backbone.load_state_dict({
        name[len('base.'):]: value for name, value in state.items() if name.startswith('base.')})
    neck.load_state_dict({
        neck_name(name): value for name, value in state.items()
        if name.startswith(('dla_up.', 'ida_up.'))})
    with torch.no_grad():
        feature, = neck(backbone(seeded_input()))
        outputs = {}
        for branch in ('hm', 'wh', 'reg'):
            hidden = F.conv2d(
                feature, state[f'{branch}.0.weight'], state[f'{branch}.0.bias'], padding=1)
            outputs[branch] = F.conv2d(
                hidden.relu(), state[f'{branch}.2.weight'], state[f'{branch}.2.bias'])
    assert_equals_official(outputs, 'ctdet/dla_34')


def conv_bn(state, name, x, stride=1, conv='conv', norm='bn'):
    return conv_bn_slowly(state, f'{name}{conv}', f'{name}{norm}', x, stride)


def block(state, name, x, shortcut, stride=1):
    """Apply a basic block or a bottleneck, as the parameters have it."""
    last = 3 if f'{name}conv3.weight' in state else 2
    strided = last - 1  # the first 3x3 convolution
    out = x
    for number in range(1, last + 1):
        out = conv_bn(
            state, name, out, stride if number == strided else 1, f'conv{number}', f'bn{number}')
        if number < last:
            out = out.relu()
    return (out + shortcut).relu()


def root(state, name, maps, residual):
    out = conv_bn(state, f'{name}root.', torch.cat(maps, dim=1))
    return (out + maps[0] if residual else out).relu()


def pool(x):
    return F.max_pool2d(x, 2, ceil_mode=True)


def two_blocks(state, name, x, stride, residual, *others):
    """Apply a tree of one level: two blocks joined at a root, where other maps join them."""
    shortcut = pool(x) if stride == 2 else x
    if f'{name}project.0.weight' in state:
        shortcut = conv_bn(state, f'{name}project.', shortcut, conv='0', norm='1')
    first = block(state, f'{name}tree1.', x, shortcut, stride)
    second = block(state, f'{name}tree2.', first, first)
    return root(state, name, [second, first, *others], residual)


def four_blocks(state, name, x, stride, residual, *others):
    """Apply a tree of two levels: the first half's output joins the second half's root, too."""
    first = two_blocks(state, f'{name}tree1.', x, stride, residual)
    return two_blocks(state, f'{name}tree2.', first, 1, residual, *others, first)


def eight_blocks(state, name, x, stride, residual, *others):
    """Apply a tree of three levels."""
    first = four_blocks(state, f'{name}tree1.', x, stride, residual)
    return four_blocks(state, f'{name}tree2.', first, 1, residual, *others, first)


TREES = {1: two_blocks, 2: four_blocks, 3: eight_blocks}


def random_state(model):
    """Return values that no parameter or statistic starts with, in float64."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            state[name] = value
            continue
        noise = torch.rand(value.shape, generator=generator, dtype=torch.float64)
        fan_in = value[0].numel() if value.ndim == 4 else 1
        state[name] = (noise - 0.5) * math.sqrt(24 / fan_in) if value.ndim == 4 else noise + 0.5
    return state


@pytest.mark.parametrize('variant', ['dla34', 'dla46_c', 'dla60'])
def test_trees_equal_those_written_out(variant):
    """Level by level, by functions, on an image whose sides are not multiples of 32."""
    compare_with_trees(DLA(variant, out_strides=STRIDES), VARIANTS[variant].depths)


def test_residual_roots_equal_those_written_out(monkeypatch):
    """A narrow dla102: unlike the others' its roots add their deepest input."""
    narrow = VARIANTS['dla102']._replace(
        depths=(1, 2, 1, 3, 2, 1), channels=(4, 6, 8, 10, 12, 14))
    monkeypatch.setitem(VARIANTS, 'dla102', narrow)
    compare_with_trees(DLA('dla102', out_strides=STRIDES), narrow.depths, residual=True)


def compare_with_trees(model, depths, residual=False):
    model = model.double().eval()
    state = random_state(model)
    model.load_state_dict(state)
    image = torch.randn(2, 3, 45, 70, dtype=torch.float64)
    with torch.no_grad():
        features = model(image)
        x = image
        for name, stride in (('base_layer', 1), ('level0', 1), ('level1', 2)):
            for number in range(depths[int(name[-1])] if name != 'base_layer' else 1):
                x = conv_bn(
                    state, f'{name}.', x, stride if number == 0 else 1, str(3 * number),
                    str(3 * number + 1)).relu()
        expected = [x]
        for level in range(2, 6):
            # From level 3 on, the level's input goes to its root as well.
            others = [pool(x)] if level > 2 else []
            x = TREES[depths[level]](state, f'level{level}.', x, 2, residual, *others)
            expected.append(x)
    for ours, theirs, stride in zip(features, expected, STRIDES, strict=True):
        assert ours.shape[2:] == (math.ceil(45 / stride), math.ceil(70 / stride))
        torch.testing.assert_close(ours, theirs)


# Parameters of timm's models of these names, which have a classifier and nothing unused.
@pytest.mark.parametrize(
    ('variant', 'channels', 'millions'),
    [('dla34', [32, 64, 128, 256, 512], 15.74), ('dla46_c', [32, 64, 64, 128, 256], 1.30),
     ('dla60', [32, 128, 256, 512, 1024], 22.04), ('dla102', [32, 128, 256, 512, 1024], 33.27),
     ('dla169', [32, 128, 256, 512, 1024], 53.39)])
def test_variants(variant, channels, millions):
    with torch.device('meta'):
        model = DLA(variant, out_strides=STRIDES)
        features = model(torch.empty(1, 3, 64, 96))
    assert model.out_channels == channels
    assert [tuple(x.shape) for x in features] == [
        (1, width, 64 // stride, 96 // stride)
        for width, stride in zip(channels, STRIDES, strict=True)]
    classifier = 1000 * (channels[-1] + 1)
    parameters = sum(p.numel() for p in model.parameters()) + classifier
    assert parameters / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize('out_strides', [(4, 8, 16, 32), (8,), (2, 16), (16, 4)], ids=str)
def test_sizes_round_up(out_strides):
    model = DLA('dla46_c', out_strides=out_strides).eval()
    for size in ((64, 96), (33, 61), (5, 2)):
        features = model(torch.randn(1, 3, *size))
        for x, stride, width in zip(features, out_strides, model.out_channels, strict=True):
            assert tuple(x.shape) == (1, width, *(-(-side // stride) for side in size)), size


@pytest.mark.parametrize('out_strides', [(4, 8, 16, 32), (4, 8), (2,)], ids=str)
def test_every_parameter_gets_a_gradient(out_strides):
    """Nothing is built that no output needs."""
    torch.manual_seed(0)
    model = DLA('dla46_c', out_strides=out_strides)
    model.init_weights()
    # The last feature alone: coarser levels are made of finer ones.
    model(torch.randn(2, 3, 64, 64))[-1].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_init_weights_without_a_file():
    """Normal with variance 2 / (kernel area x output channels), as in the original."""
    torch.manual_seed(0)
    model = DLA()
    model.init_weights()
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            std = math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels))
            assert module.weight.std().item() == pytest.approx(std, rel=0.1), name
            assert abs(module.weight.mean().item()) < 0.1 * std, name
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all(), name


def published_state(unused=True):
    """Return keys and shapes of the published dla34: the seeded weights' backbone and a
    classifier. Without the unused ones they are timm's."""
    state = {
        name[len('base.'):]: value for name, value in seeded_state_dict('ctdet/dla_34').items()
        if name.startswith('base.')}
    state['fc.weight'], state['fc.bias'] = torch.zeros(1000, 512, 1, 1), torch.zeros(1000)
    if not unused:
        for name in list(state):
            if name.startswith(('level3.project.', 'level4.project.')):
                del state[name]
    return state


@pytest.mark.parametrize('unused', [True, False], ids=['ucbdrive', 'timm'])
@pytest.mark.parametrize('out_strides', [(4, 8, 16, 32), (4, 8)], ids=str)
def test_init_weights_from_a_file(tmp_path, monkeypatch, unused, out_strides):
    """All that the network has is loaded, and mmengine warns of no key."""
    logged = []
    monkeypatch.setattr(checkpoint, 'print_log', lambda message, **kwargs: logged.append(message))
    state = published_state(unused)
    torch.save(state, tmp_path / 'weights.pth')
    model = DLA(out_strides=out_strides, init_cfg=dict(
        type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')))
    model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert len(logged) == 1, logged  # from where it is loaded


def test_weights_load_below_another_module():
    """Unused keys are left out under a prefix, too; others stay an error."""
    model = nn.ModuleDict(dict(backbone=DLA()))
    state = {f'backbone.{name}': value for name, value in published_state().items()}
    model.load_state_dict(state, strict=True)
    for wrong in ('fc', 'backbone.level3.tree3.conv1.weight', 'backbone.level6.project'):
        with pytest.raises(RuntimeError, match=wrong):
            model.load_state_dict({**state, wrong: torch.zeros(1)}, strict=True)


@pytest.mark.parametrize(
    ('options', 'words'),
    [(dict(variant='dla35'), "'dla35'.*dla34"), (dict(out_strides=(4, 64)), r'\(4, 64\)'),
     (dict(out_strides=(1, 4)), r'\(1, 4\)'), (dict(out_strides=()), r'\(\)')],
    ids=lambda value: None if isinstance(value, str) else str(value))
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        DLA(**options)
