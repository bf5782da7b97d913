"""CaffeResNet against the ResNet-50 of bubbliiiing/centernet-pytorch, written out."""
import pytest
import torch
from mmdet.models.backbones import ResNet
from parity_weights import seeded_state_dict
from reference.networks import bubbliiiing_backbone_slowly

from mmdet_centernet.models.backbones import CaffeResNet


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
        expected = bubbliiiing_backbone_slowly(state, image)
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
