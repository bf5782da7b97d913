"""The deconvolution neck and the pyramid neck: sizes, names, initialization, aggregation by hand,
the original's outputs, backbones that fit and some that do not."""
import math
import re
import warnings

import pytest
import torch
from mmdet.models.backbones import RegNet, ResNet, ResNeXt, SwinTransformer
from mmdet.models.necks import CTResNetNeck as TheirNeck
from parity_weights import assert_equals_official, seeded_input, seeded_state_dict
from torch import nn
from torch.nn import functional as F

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.layers import DCNv2
from mmdet_centernet.models.necks import CTResNetNeck, DLAUp
from mmdet_centernet.models.necks.upsample import fill_bilinear

pytestmark = pytest.mark.usefixtures('mmdet_scope')
# Feature maps as a backbone returns them for an image of these sides.
SIDES = 97, 131


def make_features(channels, strides, batch=2, sides=SIDES, seed=0):
    torch.manual_seed(seed)
    return [
        torch.randn(batch, width, *(math.ceil(side / stride) for side in sides))
        for width, stride in zip(channels, strides, strict=True)]


def make(neck_type, **options):
    torch.manual_seed(0)
    neck = neck_type(**options)
    neck.init_weights()
    return neck


def assert_all_learn(neck, features):
    """Check that every parameter gets a gradient that is not zero, and drop them again."""
    sum(out.square().sum() for out in neck(features)).backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, name
        parameter.grad = None


def weight_slowly(size):
    """Return bilinear weights for upsampling by size / 2: one tap after the other."""
    factor = size // 2
    taps = torch.zeros(size, size)
    for y in range(size):
        for x in range(size):
            # Distance of this output pixel from the input pixel's middle, in input pixels.
            dy, dx = (abs(v + 0.5 - factor) / factor for v in (y, x))
            taps[y, x] = (1 - dy) * (1 - dx)
    return taps


@pytest.mark.parametrize('factor', [2, 4, 8])
def test_fill_bilinear_upsamples(factor):
    """Equal to bilinear interpolation wherever all pixels it needs are in the image."""
    deconv = nn.ConvTranspose2d(
        3, 3, 2 * factor, stride=factor, padding=factor // 2, groups=3, bias=False)
    fill_bilinear(deconv)
    for kernel in deconv.weight[:, 0]:
        torch.testing.assert_close(kernel, weight_slowly(2 * factor))
    image = torch.randn(1, 3, 5, 7)
    with torch.no_grad():
        up = deconv(image)
    expected = F.interpolate(image, scale_factor=factor, mode='bilinear', align_corners=False)
    assert up.shape == expected.shape
    inner = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(up[inner], expected[inner])


def test_deconvolution_neck_starts_dense_deconvolutions_bilinear():
    """The first kernel of each input channel, as in MMDetection and the original."""
    neck = make(CTResNetNeck, in_channels=6, num_deconv_filters=(5,), num_deconv_kernels=(4,))
    weight = neck.deconv_layers[1].conv.weight
    for kernel in weight[:, 0]:
        torch.testing.assert_close(kernel, weight_slowly(4))
    assert weight[:, 1:].std() < weight[:, 0].std()


@pytest.mark.parametrize('use_dcn', [True, False], ids=['dcn', 'plain'])
def test_pyramid_neck_starts_deconvolutions_bilinear_and_the_rest_random(use_dcn):
    neck = make(
        DLAUp, in_channels=(4, 6, 8), in_strides=(4, 8, 16), use_dcn=use_dcn)
    deconvs = [m for m in neck.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert len(deconvs) == 1 + 2 + 1
    for deconv in deconvs:
        for kernel in deconv.weight[:, 0]:
            torch.testing.assert_close(kernel, weight_slowly(deconv.kernel_size[0]))
    convs = [m for m in neck.modules() if isinstance(m, DCNv2 if use_dcn else nn.Conv2d)]
    assert len(convs) == 2 * len(deconvs)
    for conv in convs:
        bound = 1 / math.sqrt(conv.weight[0].numel())
        assert bound * 0.9 < conv.weight.abs().max() <= bound * 1.001


@pytest.mark.parametrize('use_dcn', [True, False], ids=['dcn', 'plain'])
def test_deconvolution_neck_doubles_the_last_feature(use_dcn):
    """Only the last feature counts; each step doubles its sides."""
    neck = make(
        CTResNetNeck, in_channels=16, num_deconv_filters=(8, 6, 4),
        num_deconv_kernels=(4, 4, 4), use_dcn=use_dcn)
    assert any(isinstance(m, DCNv2) for m in neck.modules()) == use_dcn
    features = [torch.full((2, 3, 9, 9), math.nan), torch.randn(2, 16, 3, 5)]
    out, = neck(features)
    assert out.shape == (2, 4, 24, 40)
    assert torch.isfinite(out).all()
    assert_all_learn(neck, features)


@pytest.mark.parametrize('use_dcn', [True, False], ids=['dcn', 'plain'])
def test_deconvolution_neck_has_the_parameters_of_mmdet(use_dcn):
    options = dict(
        in_channels=16, num_deconv_filters=(8, 4), num_deconv_kernels=(4, 4), use_dcn=use_dcn)
    mine, other = CTResNetNeck(**options), TheirNeck(**options)
    assert {name: value.shape for name, value in mine.state_dict().items()} == {
        name: value.shape for name, value in other.state_dict().items()}


def test_deconvolution_neck_refuses_lengths_that_differ():
    with pytest.raises(ValueError, match=r'\(8, 4\).*\(4,\).*one entry per step'):
        CTResNetNeck(in_channels=16, num_deconv_filters=(8, 4), num_deconv_kernels=(4,))


@pytest.mark.parametrize(
    'strides', [(4, 8), (4, 16), (4, 8, 16), (8, 16, 32), (4, 8, 16, 32), (2, 8, 16, 32)], ids=str)
def test_pyramid_neck_returns_the_finest_map(strides):
    """Its width and sides, odd ones included; everything takes part. With own widths and
    narrowed, with and without deformable convolutions."""
    in_channels = (6, 4, 8, 3)[:len(strides)]
    features = make_features(in_channels, strides)
    for channels in (None, (4, 4, 6, 5)[:len(strides)]):
        for use_dcn in (True, False):
            neck = make(DLAUp, in_channels=in_channels, in_strides=strides, use_dcn=use_dcn,
                        channels=channels)
            case = channels, use_dcn
            assert any(isinstance(m, DCNv2) for m in neck.modules()) == use_dcn, case
            out, = neck(features)
            assert out.shape == (
                2, (channels or in_channels)[0], *features[0].shape[2:]), case
            assert_all_learn(neck, features)


def fuse_slowly(stage, number, coarse, fine):
    """Project, upsample, add and convolve, by the modules of one step of an aggregation."""
    up = stage.upsamples[number](stage.projections[number](coarse))
    return stage.nodes[number](up[:, :, :fine.shape[2], :fine.shape[3]] + fine)


@pytest.mark.parametrize('use_dcn', [True, False], ids=['dcn', 'plain'])
@pytest.mark.parametrize('channels', [None, (4, 4, 6, 5)], ids=['own widths', 'narrowed'])
def test_pyramid_neck_equals_its_aggregation_written_out(channels, use_dcn):
    """Objects as Points with DLA-34: three rounds over strides 4 to 32, then a last one over
    their results of strides 4, 8 and 16."""
    in_channels, strides = (6, 4, 8, 3), (4, 8, 16, 32)
    neck = make(
        DLAUp, in_channels=in_channels, in_strides=strides, channels=channels, use_dcn=use_dcn
    ).eval()
    features = make_features(in_channels, strides)
    with torch.no_grad():
        out, = neck(features)
        x4, x8, x16, x32 = features
        if channels:
            x4, x8, x16, x32 = (
                layer.activate(layer.norm(layer.conv(x)))
                for layer, x in zip(neck.inputs, features, strict=True))
        first, second, third = neck.rounds
        # Strides 16 and 32 to one map of stride 16.
        a16 = fuse_slowly(first, 0, x32, x16)
        # Strides 8 and 16, and the result of the round before of the coarsest, to stride 8.
        b8 = fuse_slowly(second, 0, x16, x8)
        c8 = fuse_slowly(second, 1, a16, b8)
        # The same again to stride 4.
        d4 = fuse_slowly(third, 0, x8, x4)
        e4 = fuse_slowly(third, 1, b8, d4)
        f4 = fuse_slowly(third, 2, c8, e4)
        # The best map of each round, coarser ones into finer ones.
        g4 = fuse_slowly(neck.fuse, 0, c8, f4)
        expected = fuse_slowly(neck.fuse, 1, a16, g4)
    torch.testing.assert_close(out, expected)
    assert [up.stride[0] for up in neck.fuse.upsamples] == [2, 4]
    assert all(up.stride[0] == 2 for stage in neck.rounds for up in stage.upsamples)


def test_pyramid_neck_does_not_change_the_features():
    features = make_features((6, 4, 8), (4, 8, 16))
    before = [x.clone() for x in features]
    make(DLAUp, in_channels=(6, 4, 8), in_strides=(4, 8, 16), use_dcn=False)(features)
    assert all(torch.equal(x, y) for x, y in zip(features, before, strict=True))


@pytest.mark.parametrize(
    ('options', 'words'),
    [(dict(in_channels=(8, 16), in_strides=(4, 8, 16)), 'one entry per feature map'),
     (dict(in_channels=(8, 16), in_strides=(4, 8), channels=(8,)), 'one entry per feature map'),
     (dict(in_channels=(8,), in_strides=(4,)), 'at least two'),
     (dict(in_channels=(8, 16), in_strides=(4, 12)), r'\(4, 12\)'),
     (dict(in_channels=(8, 16), in_strides=(4, 4)), 'even multiple'),
     (dict(in_channels=(8, 16), in_strides=(4, 6)), 'even multiple'),
     (dict(in_channels=(8, 16), in_strides=(8, 4)), 'even multiple')],
    ids=lambda value: None if isinstance(value, str) else str(tuple(value.values())))
def test_pyramid_neck_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        DLAUp(**options)


@pytest.mark.parametrize(
    ('neck_type', 'options'),
    [(CTResNetNeck, dict(in_channels=8, num_deconv_filters=(6, 4), num_deconv_kernels=(4, 4))),
     (DLAUp, dict(in_channels=(4, 6, 8), in_strides=(4, 8, 16)))],
    ids=['deconvolutions', 'pyramid'])
def test_conv_bias_is_that_of_3x3_convolutions_alone(neck_type, options):
    """And nobody is warned of it."""
    for use_dcn, kind in ((True, DCNv2), (False, nn.Conv2d)):
        for conv_bias in (True, False):
            with warnings.catch_warnings():
                warnings.simplefilter('error')
                neck = make(neck_type, **options, conv_bias=conv_bias, use_dcn=use_dcn)
            case = use_dcn, conv_bias
            convs = [m for m in neck.modules() if isinstance(m, kind)]
            assert convs, case
            if not use_dcn:
                assert all(conv.kernel_size == (3, 3) for conv in convs)
            assert {conv.bias is not None for conv in convs} == {conv_bias}, case
            deconvs = [m for m in neck.modules() if isinstance(m, nn.ConvTranspose2d)]
            assert all(deconv.bias is None for deconv in deconvs), case


def test_deconvolution_neck_without_convolutions_equals_its_definition():
    """Three deconvolutions in a row, which start near zero."""
    neck = make(
        CTResNetNeck, in_channels=16, num_deconv_filters=(64, 32, 32),
        num_deconv_kernels=(4, 4, 4), pre_conv=False).eval()
    assert {name.split('.', 2)[2] for name, _ in neck.named_parameters()} == {
        'conv.weight', 'bn.weight', 'bn.bias'}
    feature = torch.randn(2, 16, 3, 5)
    x = feature
    for layer in neck.deconv_layers:
        assert isinstance(layer.conv, nn.ConvTranspose2d)
        assert layer.conv.weight.std().item() == pytest.approx(0.001, rel=0.05)
        # By definition: zeros between the cells, and a convolution with the rotated kernel.
        spread = torch.zeros(2, x.shape[1], 2 * x.shape[2] - 1, 2 * x.shape[3] - 1)
        spread[..., ::2, ::2] = x
        kernel = layer.conv.weight.flip(2, 3).transpose(0, 1)
        # In eval mode with fresh statistics batch norm only divides by sqrt(1 + eps).
        x = (F.conv2d(spread, kernel, padding=2) / math.sqrt(1 + 1e-5)).relu()
    out, = neck([feature])
    assert out.shape == (2, 32, 24, 40)
    assert out.max() > 0
    torch.testing.assert_close(out, x)
    assert_all_learn(neck.train(), [feature])


@pytest.mark.parametrize(
    ('arch', 'options'),
    [('res_18', dict(num_deconv_filters=(256, 256, 256), pre_conv=False)),
     ('resdcn_18', dict(num_deconv_filters=(256, 128, 64), conv_bias=True))],
    ids=['plain', 'dcn'])
def test_deconvolution_neck_equals_the_original(arch, options):
    """ResNet-18 and its neck on the original's weights give the original's outputs."""
    state = seeded_state_dict(f'ctdet/{arch}')
    neck = CTResNetNeck(in_channels=512, num_deconv_kernels=(4, 4, 4), **options).eval()
    # The original has one list of convolution, norm and ReLU, convolution, norm and ReLU.
    theirs = {}
    for name, value in state.items():
        if name.startswith('deconv_layers.'):
            number, rest = name.split('.', 2)[1:]
            layer, part = divmod(int(number), 3)
            rest = rest.replace('conv_offset_mask', 'conv_offset')
            theirs[f'deconv_layers.{layer}.{("conv", "bn")[part]}.{rest}'] = value
    neck.load_state_dict(theirs)
    backbone = ResNet(18, out_indices=(3,))
    backbone.eval()
    backbone.load_state_dict({
        name: value for name, value in state.items()
        if re.match(r'conv1|bn1|layer\d', name)})
    with torch.no_grad():
        feature, = neck(backbone(seeded_input()))
        outputs = {}
        for branch in ('hm', 'wh', 'reg'):
            hidden = F.conv2d(
                feature, state[f'{branch}.0.weight'], state[f'{branch}.0.bias'], padding=1)
            outputs[branch] = F.conv2d(
                hidden.relu(), state[f'{branch}.2.weight'], state[f'{branch}.2.bias'])
    assert_equals_official(outputs, f'ctdet/{arch}')


BACKBONES = {
    'resnet': (lambda: ResNet(18, out_indices=(0, 1, 2, 3)), (64, 128, 256, 512)),
    'regnet': (lambda: RegNet('regnetx_400mf'), (32, 64, 160, 384)),
    'resnext': (
        lambda: ResNeXt(depth=50, groups=2, base_width=2, base_channels=8, stem_channels=8),
        (32, 64, 128, 256)),
    'swin': (
        lambda: SwinTransformer(embed_dims=12, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
        (12, 24, 48, 96)),
}


@pytest.mark.parametrize('name', BACKBONES)
def test_necks_take_backbones_of_mmdet(name):
    """Of four features one neck takes the last, the other all; sides need not be even."""
    make_backbone, channels = BACKBONES[name]
    features = make_backbone()(torch.randn(1, 3, 77, 110))
    deconvolutions = CTResNetNeck(
        in_channels=channels[-1], num_deconv_filters=(8, 8, 8), num_deconv_kernels=(4, 4, 4))
    assert deconvolutions(features)[0].shape == (1, 8, 24, 32)
    pyramid = DLAUp(in_channels=channels, in_strides=(4, 8, 16, 32), use_dcn=False)
    assert pyramid(features)[0].shape == (1, channels[0], 20, 28)


def test_deconvolution_neck_takes_one_feature():
    features = ResNet(18, out_indices=(3,))(torch.randn(1, 3, 64, 96))
    neck = CTResNetNeck(in_channels=512, num_deconv_filters=(8,), num_deconv_kernels=(4,))
    assert neck(features)[0].shape == (1, 8, 4, 6)


def assert_one_sentence(error, *words):
    """Check that an error message is one sentence that contains some words."""
    sentence = str(error.value)
    for word in words:
        assert word in sentence
    assert '\n' not in sentence and '. ' not in sentence


@pytest.mark.parametrize(
    ('channels', 'strides', 'words'),
    [((4, 6), (4, 8), ('outputs 2 feature', '(4, 6)', 'needs 3', '(4, 6, 8)', 'out_indices')),
     ((4, 6, 8, 9), (4, 8, 16, 32), ('outputs 4 feature', 'needs 3')),
     ((4, 6, 9), (4, 8, 16), ('(4, 6, 9)', '(4, 6, 8)', 'in_channels')),
     ((4, 6, 8), (4, 8, 8), ('(13, 17)', '(7, 9)', '(4, 8, 16)', 'in_strides')),
     ((4, 6, 8), (4, 8, 32), ('(4, 5)', '(7, 9)', 'pad_size_divisor')),
     ((4, 6, 8), (4, 9, 16), ('(11, 15)', '(13, 17)'))],
    ids=['too few', 'too many', 'channels', 'finer', 'coarser', 'rounded down'])
def test_pyramid_neck_refuses_features_that_do_not_fit(channels, strides, words):
    neck = DLAUp(in_channels=(4, 6, 8), in_strides=(4, 8, 16), use_dcn=False)
    with pytest.raises(UserError) as error:
        neck(make_features(channels, strides))
    assert_one_sentence(error, 'DLAUp', *words)


def test_deconvolution_neck_refuses_channels_that_do_not_fit():
    neck = CTResNetNeck(in_channels=512, num_deconv_filters=(8,), num_deconv_kernels=(4,))
    with pytest.raises(UserError) as error:
        neck(make_features((512, 2048), (16, 32)))
    assert_one_sentence(error, 'CTResNetNeck', '(2048,)', '(512,)', 'set in_channels')
