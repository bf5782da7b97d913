"""ResNet-50 of bubbliiiing/centernet-pytorch, written out by functions."""
import pytest
import torch
from mmdet.models.backbones import ResNet
from parity_weights import seeded_state_dict
from torch.nn import functional as F

from mmdet_centernet.models.backbones import CaffeResNet

BLOCKS = 3, 4, 6, 3


def conv_bn(state, conv, norm, x, stride=1):
    weight = state[f'{conv}.weight']
    x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
    statistics = (state[f'{norm}.{key}'] for key in (
        'running_mean', 'running_var', 'weight', 'bias'))
    return F.batch_norm(x, *statistics)


def pool_slowly(x):
    """Largest value of each window of 3 x 3, two cells apart; the last window may stick out."""
    height, width = x.shape[2:]
    rows = [
        torch.stack([
            x[:, :, top:top + 3, left:left + 3].amax(dim=(2, 3))
            for left in range(0, width - 1, 2)], dim=-1)
        for top in range(0, height - 1, 2)]
    return torch.stack(rows, dim=2)


def resnet_slowly(state, x):
    """By the parameter names of bubbliiiing's ``nn.Sequential``: 0 to 3 are the stem."""
    x = pool_slowly(conv_bn(state, 'backbone.0', 'backbone.1', x, stride=2).relu())
    features = []
    for stage, blocks in enumerate(BLOCKS):
        for number in range(blocks):
            name = f'backbone.{4 + stage}.{number}'
            stride = 2 if stage > 0 and number == 0 else 1
            # The stride is the first convolution's.
            out = conv_bn(state, f'{name}.conv1', f'{name}.bn1', x, stride).relu()
            out = conv_bn(state, f'{name}.conv2', f'{name}.bn2', out).relu()
            out = conv_bn(state, f'{name}.conv3', f'{name}.bn3', out)
            if number == 0:
                x = conv_bn(state, f'{name}.downsample.0', f'{name}.downsample.1', x, stride)
            x = (out + x).relu()
        features.append(x)
    return features


@pytest.mark.parametrize('size', [(64, 96), (75, 50)], ids=str)
def test_equals_bubbliiiings(size):
    state = {
        name: value.double() for name, value in seeded_state_dict('bubbliiiing/resnet50').items()
        if name.startswith('backbone.')}
    ours = {}
    for name, value in state.items():
        number, rest = name.split('.', 2)[1:]
        part = {'0': 'conv1', '1': 'bn1'}.get(number) or f'layer{int(number) - 3}'
        ours[f'{part}.{rest}'] = value
    model = CaffeResNet(50).double()
    model.eval()
    model.load_state_dict(ours)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        features = model(image)
        expected = resnet_slowly(state, image)
    assert len(features) == len(expected) == 4
    for mine, slow in zip(features, expected, strict=True):
        torch.testing.assert_close(mine, slow)


def test_parameters_are_those_of_mmdet():
    """Frozen stages and the like come with the base class."""
    mine, other = CaffeResNet(18, frozen_stages=1), ResNet(18, frozen_stages=1)
    assert {name: value.shape for name, value in mine.state_dict().items()} == {
        name: value.shape for name, value in other.state_dict().items()}
    assert not any(p.requires_grad for p in mine.layer1.parameters())
    assert all(p.requires_grad for p in mine.layer2.parameters())
