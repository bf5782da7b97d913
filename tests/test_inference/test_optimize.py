"""An optimized detector computes what the plain one does."""
import copy
import shutil
from functools import partial

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.optimize import CONVOLUTIONS, optimize_for_inference, use_precision
from mmdet_centernet.models.layers import DCNv2

SIZE = 64, 96
RESNET = dict(
    base_channels=8, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1, ))


def deconv_neck(channels, **kwargs):
    return dict(type='mmdet_centernet.CTResNetNeck', in_channels=channels,
                num_deconv_filters=(8, ), num_deconv_kernels=(4, ), **kwargs)


def pyramid_neck(in_channels, **kwargs):
    return dict(type='mmdet_centernet.DLAUp', in_channels=in_channels,
                in_strides=(4, 8, 16, 32)[:len(in_channels)], **kwargs)


# Backbone, neck, and what else there is.
NETWORKS = {
    'resnet18-dcn': (
        dict(type='mmdet.ResNet', depth=18, frozen_stages=1, **RESNET), deconv_neck(16), {}),
    'resnet50-plain': (
        dict(type='mmdet.ResNet', depth=50, **RESNET),
        deconv_neck(64, use_dcn=False, conv_bias=True), dict(norm_cfg=dict(type='BN'))),
    'caffe-resnet50': (
        dict(type='mmdet_centernet.CaffeResNet', depth=50, **RESNET),
        deconv_neck(64, pre_conv=False), {}),
    'dla46c-dcn': (
        dict(type='mmdet_centernet.DLA', variant='dla46_c', out_strides=(4, 8, 16)),
        pyramid_neck((64, 64, 128), conv_bias=True), dict(in_channels=64)),
    'lite0-plain': (
        dict(type='mmdet_centernet.EfficientNetLite', frozen_stages=2),
        pyramid_neck((24, 40, 112, 320), channels=(16, 16, 16, 16), use_dcn=False),
        dict(in_channels=16)),
    'hourglass': (
        dict(type='mmdet.HourglassNet', downsample_times=2, num_stacks=2,
             stage_channels=(16, 8, 12), stage_blocks=(1, 1, 1), feat_channel=8),
        None, dict(num_stacks=2)),
}


def make_detector(name='resnet18-dcn', **head):
    """A detector in eval mode whose batch norms do something."""
    backbone, neck, more = NETWORKS[name]
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(dict(
            type='mmdet_centernet.CenterNet', backbone=backbone, neck=neck,
            data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
            bbox_head={**dict(type='mmdet_centernet.CenterNetHead', num_classes=3,
                              in_channels=8, feat_channels=8), **more, **head}))
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            for vector in (module.bias, module.running_mean):
                nn.init.normal_(vector, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        elif isinstance(module, DCNv2):  # else they would not deform
            nn.init.normal_(module.conv_offset.weight, std=0.1)
    return model.eval()


def norms(model):
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def outputs(model, images):
    """Both ways in which a detector is used: all stacks, and the last one to be decoded."""
    with torch.no_grad():
        return [*model(images, mode='tensor')[0],
                model.bbox_head.forward_last(model.extract_feat(images))]


def assert_same(got, expected, tolerance=1e-4):
    """Maps differ by no more than this part of their largest value."""
    for one, other in zip(got, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == torch.float32
            error = (one[name] - other[name]).abs().max() / other[name].abs().max()
            assert error < tolerance, (name, error)


@pytest.mark.parametrize('name', NETWORKS)
def test_every_batch_norm_is_folded(name):
    model = make_detector(name)
    images = torch.randn(2, 3, *SIZE)
    expected, count = outputs(model, images), len(norms(model))
    state = copy.deepcopy(model.state_dict())
    fast = optimize_for_inference(model)
    assert not norms(fast)
    assert_same(outputs(fast, images), expected)
    # The model itself is as it was, and needs no copy of what it was.
    assert len(norms(model)) == count > 5
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    for module in fast.modules():
        if isinstance(module, CONVOLUTIONS):
            assert module.weight.is_contiguous(memory_format=torch.channels_last)
            assert not module._forward_hooks


def with_backbone(backbone):
    """A detector with this module for a backbone, of 8 channels."""
    model = make_detector()
    model.backbone, model.neck = backbone.eval(), None
    for norm in norms(backbone):
        if norm.running_mean is not None:
            nn.init.normal_(norm.running_mean)
    return model


class Odd(nn.Module):
    """Convolutions and norms that must not be taken for pairs."""

    def __init__(self, forward):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm, self.other_norm = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.same = nn.Conv2d(8, 8, 1)
        self._forward = forward

    def forward(self, x):
        return (self._forward(self, x), )


@pytest.mark.parametrize('forward', [
    lambda self, x: self.norm(self.conv(x).relu_()),
    lambda self, x: (y := self.conv(x)) + self.norm(y),
    lambda self, x: torch.stack([y := self.conv(x), self.norm(y)]).sum(0),
    lambda self, x: self.norm(y := self.conv(x)) + self.other_norm(y),
    lambda self, x: self.norm(self.conv(x)) + self.norm(x.mean(1, keepdim=True).tile(8, 1, 1)),
    lambda self, x: self.norm(self.same(self.same(self.conv(x))))], ids=[
    'read-changed', 'read-twice', 'read-in-a-list', 'two-norms', 'norm-of-two',
    'convolution-used-twice'])
def test_only_pairs_are_folded(forward):
    model = with_backbone(Odd(forward))
    images = torch.randn(1, 3, *SIZE)
    fast = optimize_for_inference(model)
    assert isinstance(fast.backbone.norm, nn.BatchNorm2d)
    assert isinstance(fast.backbone.other_norm, nn.BatchNorm2d)
    assert_same(outputs(fast, images), outputs(model, images))


class Layers(nn.Sequential):
    """Layers as a backbone."""

    def forward(self, x):
        return (super().forward(x), )


@pytest.mark.parametrize('layers, folded', [
    ([nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1), nn.BatchNorm2d(8)], True),
    ([nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 8, 4, stride=2, groups=4), nn.BatchNorm2d(8)],
     False),
    ([nn.Conv2d(3, 8, 3, padding=1, padding_mode='reflect'),
      nn.BatchNorm2d(8, affine=False)], True),
    ([nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)], False)],
    ids=['deconvolution', 'grouped-deconvolution', 'not-affine', 'statistics-of-the-batch'])
def test_kinds_of_layers(layers, folded):
    model = with_backbone(Layers(*layers))
    fast = optimize_for_inference(model)
    assert isinstance(fast.backbone[-1], nn.Identity if folded else nn.BatchNorm2d)
    images = torch.randn(1, 3, *SIZE)
    assert_same(outputs(fast, images), outputs(model, images))


def test_not_while_training():
    with pytest.raises(ValueError, match='training mode'):
        optimize_for_inference(make_detector().train())


def test_results_can_be_worked_with():
    """Predictions of the optimized model are tensors like any others."""
    fast = optimize_for_inference(make_detector())
    output = outputs(fast, torch.randn(1, 3, *SIZE))[-1]
    bboxes = fast.bbox_head.decode(output)['bboxes']
    bboxes[0, 0] = 1
    (bboxes * torch.ones(4, requires_grad=True)).sum().backward()


@pytest.mark.parametrize('name', ['resnet18-dcn', 'lite0-plain', 'hourglass'])
def test_bfloat16(name):
    """Eight bits of mantissa, some ten layers deep: a few hundredths; out comes float32, and not
    rounded to what bfloat16 can hold."""
    model = make_detector(name)
    images = torch.randn(2, 3, *SIZE)
    expected = outputs(model, images)[-1:]
    for rough in (copy.deepcopy(model), optimize_for_inference(model)):
        use_precision(rough, torch.bfloat16)
        with torch.no_grad():
            features = rough.extract_feat(images)
            got = rough.bbox_head.forward_last(features)
        assert features[-1].dtype == torch.bfloat16
        assert_same([got], expected, tolerance=0.06)
        with pytest.raises(AssertionError):
            assert_same([got], expected, tolerance=1e-4)
        assert not torch.equal(got['wh'].bfloat16().float(), got['wh'])
        assert not torch.is_autocast_enabled('cpu')


def test_bfloat16_leaves_the_ends_of_branches_alone():
    """The convolution before the learned factor of side distances, too."""
    model = make_detector(
        'lite0-plain', type='mmdet_centernet.CenterHead', properties=[
            dict(type='mmdet_centernet.LTRB'), dict(type='mmdet_centernet.Quality')])
    images = torch.randn(2, 3, *SIZE)
    expected = outputs(model, images)[-1:]
    use_precision(model, torch.bfloat16)
    inputs = {}
    for name, branch in model.bbox_head.stacks[-1].items():
        convolution = [layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)][-1]
        convolution.register_forward_pre_hook(
            lambda layer, args, name=name: inputs.update({name: args[0].dtype}))
    with torch.no_grad():
        got = model.bbox_head.forward_last(model.extract_feat(images))
    assert_same([got], expected, tolerance=0.06)
    assert inputs == dict.fromkeys(('heatmap', 'ltrb', 'quality'), torch.float32)


def test_float16_is_for_gpus():
    with pytest.raises(UserError, match="precision='float16' is for GPUs"):
        use_precision(make_detector(), torch.float16)


def compiled(model):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return optimize_for_inference(model, compile=True)


@pytest.mark.skipif(not shutil.which('g++'), reason='needs a C++ compiler')
def test_compiled():
    torch.manual_seed(0)
    model = with_backbone(Layers(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    fast = compiled(model)
    images = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        got = fast.bbox_head.forward_last(fast.extract_feat(images))
    assert_same([got], outputs(model, images)[-1:])
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 2


def test_compiled_for_a_size_and_then_for_any(monkeypatch):
    """Without the code generator, which would take a minute."""
    monkeypatch.setattr(torch, 'compile', partial(torch.compile, backend='eager'))
    model = make_detector()
    fast = compiled(model)
    counts = []
    for size in ((64, 96), (96, 160), (128, 64), (160, 192)):
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            got = fast.bbox_head.forward_last(fast.extract_feat(images))
        assert_same([got], outputs(model, images)[-1:])
        counts.append(torch._dynamo.utils.counters['stats']['unique_graphs'])
    assert counts[0] == 2 and counts[1:] == [4, 4, 4], counts


def test_without_a_compiler(monkeypatch):
    fast = compiled(make_detector())
    monkeypatch.setattr(torch._inductor.config.cpp, 'cxx', ('/no/such/compiler', ))
    monkeypatch.setattr(torch._inductor.config, 'force_disable_caches', True)
    with pytest.raises(UserError, match="optimize='compile' does not work here.*optimize=True"):
        fast.extract_feat(torch.randn(1, 3, *SIZE))
