"""EfficientNet-Lite: published weights, shapes, padding, freezing."""
import copy

import cv2
import matplotlib.cbook
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mmdet_centernet.checkpoints.pretrained import find_pretrained
from mmdet_centernet.models.backbones import EfficientNetLite
from mmdet_centernet.models.backbones.efficientnet_lite import SameConv2d

MILITARY_UNIFORM = 652  # class of ImageNet
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # RGB, of ImageNet


def published_weights():
    """Return all of the published file, with its classifier."""
    return torch.load(
        find_pretrained('efficientnet_lite0'), map_location='cpu', weights_only=True)


def portrait():
    """Return Grace Hopper in uniform as the network's input: Tensor[1, 3, 224, 224]."""
    with matplotlib.cbook.get_sample_data('grace_hopper.jpg') as file:
        image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[20:532]
    image = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    image = (image - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(image.transpose(2, 0, 1)[None]).float()


def test_published_weights_load_strictly_and_recognize():
    """With the classifier that a detector leaves out; 0.37 also shows that padding, batch norm
    constants and activations are those of training."""
    state = published_weights()
    model = EfficientNetLite().eval()
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        x = F.conv2d(model(portrait())[-1], state['_conv_head.weight'])
        x = F.relu6(F.batch_norm(
            x, state['_bn1.running_mean'], state['_bn1.running_var'], state['_bn1.weight'],
            state['_bn1.bias'], eps=1e-3))
        logits = F.linear(x.mean(dim=(2, 3)), state['_fc.weight'], state['_fc.bias'])
    probability, best = logits.softmax(dim=1)[0].max(dim=0)
    assert best == MILITARY_UNIFORM
    assert probability.item() == pytest.approx(0.366, abs=0.02)


def test_published_weights_by_name():
    model = EfficientNetLite(
        init_cfg=dict(type='Pretrained', checkpoint='pretrained://efficientnet_lite0'))
    model.init_weights()
    state = published_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_weights_load_below_another_module():
    """The classifier's keys are left out under a prefix, too; others stay an error."""
    state = {f'backbone.{name}': value for name, value in published_weights().items()}
    torch.nn.ModuleDict(dict(backbone=EfficientNetLite())).load_state_dict(state, strict=True)
    broken = dict(published_weights(), _conv_tail=torch.zeros(1))
    with pytest.raises(RuntimeError, match='_conv_tail'):
        EfficientNetLite().load_state_dict(broken, strict=True)


@pytest.mark.parametrize(
    ('variant', 'channels', 'blocks'),
    [('lite0', [16, 24, 40, 112, 320], 16), ('lite1', [16, 24, 40, 112, 320], 21),
     ('lite2', [16, 24, 48, 120, 352], 21), ('lite3', [24, 32, 48, 136, 384], 24),
     ('lite4', [24, 32, 56, 160, 448], 30)])
def test_variants(variant, channels, blocks):
    """Widths as published; the stem is not widened. Strides of 2 to 32."""
    with torch.device('meta'):
        model = EfficientNetLite(variant, out_strides=(2, 4, 8, 16, 32))
        features = model(torch.empty(1, 3, 64, 96))
    assert model._conv_stem.out_channels == 32
    assert model.out_channels == channels
    assert len(model._blocks) == blocks
    assert [tuple(x.shape) for x in features] == [
        (1, width, 64 // stride, 96 // stride)
        for width, stride in zip(channels, (2, 4, 8, 16, 32), strict=True)]


def test_lite0_returns_what_its_config_takes():
    assert EfficientNetLite().out_channels == [24, 40, 112, 320]


@pytest.mark.parametrize('out_strides', [(4, 8, 16, 32), (8,), (2, 32), (16, 4)], ids=str)
def test_sizes_round_up(out_strides):
    """Features in the order asked for, each side divided by the stride and rounded up."""
    model = EfficientNetLite(out_strides=out_strides).eval()
    for size in ((64, 96), (33, 61), (1, 1), (32, 7)):
        features = model(torch.randn(1, 3, *size))
        for x, stride, width in zip(features, out_strides, model.out_channels, strict=True):
            assert tuple(x.shape) == (1, width, *(-(-side // stride) for side in size)), size


def test_coarse_stages_that_are_not_asked_for_are_not_computed():
    model = EfficientNetLite(out_strides=(4,))
    model(torch.randn(2, 3, 32, 32))[0].sum().backward()
    used = [any(p.grad is not None for p in block.parameters()) for block in model._blocks]
    assert used == [True] * 3 + [False] * 13


def same_conv_slowly(conv, image):
    """Convolve by TensorFlow's rule: ceil(size / stride) outputs, an odd padding pixel at the
    end."""
    (height, width), kernel, stride = image.shape[2:], conv.kernel_size[0], conv.stride[0]
    out_h, out_w = -(-height // stride), -(-width // stride)
    top = max((out_h - 1) * stride + kernel - height, 0) // 2
    left = max((out_w - 1) * stride + kernel - width, 0) // 2
    expected = conv.bias.detach()[None, :, None, None].repeat(1, 1, out_h, out_w)
    for channel in range(4):
        for y in range(out_h):
            for x in range(out_w):
                for i in range(kernel):
                    for j in range(kernel):
                        row, column = y * stride - top + i, x * stride - left + j
                        if 0 <= row < height and 0 <= column < width:
                            expected[0, channel, y, x] += (
                                image[0, channel // 2, row, column]
                                * conv.weight[channel, 0, i, j]).item()
    return expected


@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('kernel', [3, 5])
def test_same_convolution_equals_loop(kernel, stride):
    torch.manual_seed(0)
    conv = SameConv2d(2, 4, kernel, stride, groups=2).double()
    for size in ((8, 8), (9, 12), (5, 7), (1, 2)):
        image = torch.randn(1, 2, *size, dtype=torch.float64)
        torch.testing.assert_close(conv(image), same_conv_slowly(conv, image))


def stage_of(name):
    """Return the stage of a parameter or buffer of lite0; the stem is 0."""
    if not name.startswith('_blocks.'):
        return 0
    first_blocks = (0, 1, 3, 5, 8, 11, 15)
    return sum(int(name.split('.')[1]) >= first for first in first_blocks)


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 7])
def test_frozen_stages(frozen_stages):
    """A training step does not change the weights and statistics of frozen stages."""
    torch.manual_seed(0)
    model = EfficientNetLite(frozen_stages=frozen_stages).eval().train()
    before = copy.deepcopy(model.state_dict())
    images = torch.randn(2, 3, 32, 64)
    loss = sum(x.square().mean() for x in model(images))
    learnable = [p for p in model.parameters() if p.requires_grad]
    if learnable:
        loss.backward()
        torch.optim.SGD(learnable, lr=0.1).step()
    after = model.state_dict()
    for name, value in before.items():
        is_frozen = stage_of(name) <= frozen_stages
        assert torch.equal(after[name], value) == is_frozen, name
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (stage_of(name) <= frozen_stages), name


def test_norm_eval():
    """Statistics stay and weights are trained, also after leaving and entering training mode."""
    torch.manual_seed(0)
    model = EfficientNetLite(norm_eval=True).train()
    before = copy.deepcopy(model.state_dict())
    model.eval().train()(torch.randn(2, 3, 32, 64))[-1].square().mean().backward()
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is not None for p in model.parameters())


def test_training_mode_without_options():
    model = EfficientNetLite().train()
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in model.eval().modules())


@pytest.mark.parametrize(
    ('options', 'words'),
    [(dict(variant='lite5'), "'lite5'.*lite0.*lite4"), (dict(out_strides=(4, 64)), '64'),
     (dict(out_strides=(1, 4)), r'\[1\]'), (dict(frozen_stages=8), r'8.*\[-1, 7\]'),
     (dict(frozen_stages=-2), r'-2.*\[-1, 7\]')],
    ids=lambda value: None if isinstance(value, str) else str(value))
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        EfficientNetLite(**options)
