"""Backbones of timm: features, weights from files, freezing, gradient checkpointing, errors."""
import copy
import sys

import pytest
import torch
from helpers.timm_models import import_timm
from mmengine.registry import MODELS

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.backbones import EfficientNetLite, TIMMBackbone

timm = import_timm()
pytestmark = pytest.mark.skipif(timm is None, reason='needs the extra timm')

SMALL = ('test_resnet', 'test_efficientnet', 'test_convnext', 'test_mambaout')


def images(*size):
    return torch.randn(2, 3, *(size or (64, 96)), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('name', SMALL)
def test_features_have_the_stated_channels_and_strides(name):
    """By default those of strides 4 to 32, channels first, whatever the model's own format."""
    model = TIMMBackbone(name).eval()
    assert model.out_strides == [4, 8, 16, 32]
    for x, channels, stride in zip(
            model(images()), model.out_channels, model.out_strides, strict=True):
        assert tuple(x.shape) == (2, channels, 64 // stride, 96 // stride)


def test_out_indices_chooses_features():
    model = TIMMBackbone('test_resnet', out_indices=(0, 3)).eval()
    assert model.out_strides == [2, 16]
    every = timm.create_model('test_resnet', features_only=True).eval()
    every.load_state_dict(model.net.state_dict(), strict=False)
    expected = every(images())
    for x, index in zip(model(images()), (0, 3), strict=True):
        assert torch.equal(x, expected[index])


def test_a_transformer_with_one_stride_gives_its_last_feature():
    model = TIMMBackbone('test_vit', model_args=dict(img_size=64)).eval()
    assert model.out_strides == [16]
    assert [tuple(x.shape) for x in model(images(64, 64))] == [(2, model.out_channels[0], 4, 4)]


@pytest.mark.parametrize('name', [*SMALL, 'test_vit'])
@pytest.mark.parametrize('kind', ['pth', 'safetensors'])
def test_checkpoint_with_the_names_of_the_whole_model(name, kind, tmp_path):
    """Also of models whose parameters timm renames for features; the classifier is ignored."""
    whole = timm.create_model(name)
    file = tmp_path / f'weights.{kind}'
    if kind == 'pth':
        torch.save(dict(state_dict=whole.state_dict()), file)
    else:
        from safetensors.torch import save_file
        save_file(whole.state_dict(), file)
    model = TIMMBackbone(name, checkpoint=str(file))
    model.init_weights()
    values = {value.flatten().double().sum().item() for value in whole.state_dict().values()}
    for key, value in model.state_dict().items():
        assert value.flatten().double().sum().item() in values, key


def test_checkpoint_of_another_model_lists_what_does_not_fit(tmp_path):
    state = timm.create_model('test_resnet').state_dict()
    del state['layer1.0.conv1.weight']
    state['layer2.0.conv1.weight'] = torch.zeros(1, 2, 3, 3)
    state['layer9.weight'] = torch.zeros(1)
    torch.save(state, tmp_path / 'other.pth')
    with pytest.raises(UserError) as error:
        TIMMBackbone('test_resnet', checkpoint=str(tmp_path / 'other.pth')).init_weights()
    for words in ('other.pth', 'test_resnet', '1 are missing (layer1.0.conv1.weight)',
                  'layer2.0.conv1.weight is (1, 2, 3, 3) where', 'are not used (fc.bias'):
        assert words in str(error.value)


@pytest.mark.parametrize(('content', 'words'), [
    (None, 'does not exist'), (b'text', 'damaged'), (dict(epoch=1), 'no weights')], ids=str)
def test_checkpoint_that_cannot_be_read(content, words, tmp_path):
    file = tmp_path / 'weights.pth'
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    with pytest.raises(UserError, match=words):
        TIMMBackbone('test_resnet', checkpoint=str(file)).init_weights()


def test_pretrained_weights_are_loaded(monkeypatch):
    """Weights of timm's own download, here of a model with the same features."""
    source = timm.create_model('test_resnet', features_only=True)
    model = TIMMBackbone('test_resnet', pretrained=True)

    def create_model(name, pretrained, **arguments):
        assert (name, pretrained, arguments) == ('test_resnet', True, dict(features_only=True))
        return source

    monkeypatch.setattr(timm, 'create_model', create_model)
    model.init_weights()
    for name, value in source.state_dict().items():
        assert torch.equal(model.net.state_dict()[name], value), name


def test_pretrained_weights_without_network(monkeypatch):
    model = TIMMBackbone('test_resnet', pretrained=True)

    def create_model(*args, **kwargs):
        raise ConnectionError('no route to host\nmore lines')

    monkeypatch.setattr(timm, 'create_model', create_model)
    with pytest.raises(UserError, match=r'test_resnet.*\(no route to host\).*checkpoint=FILE'):
        model.init_weights()


@pytest.mark.parametrize(('options', 'words'), [
    (dict(model_name='mobilenetv3_larg_100'), 'no model.*did you mean mobilenetv3_large_100'),
    (dict(model_name='qqqqqqqqqq'), 'no model'),
    (dict(model_name='test_resnet.nobody'), 'test_resnet.nobody.*nobody'),
    (dict(model_name='test_resnet', out_indices=(0, 9)), 'out_indices=.*9'),
    (dict(model_name='test_resnet', model_args=dict(colour=1)), 'colour'),
    (dict(model_name='test_resnet', frozen_stages=5), 'frozen_stages = 5.*4'),
    (dict(model_name='test_resnet', checkpoint='x.pth', pretrained=True), 'both'),
], ids=str)
def test_bad_options(options, words):
    with pytest.raises(UserError, match=words):
        TIMMBackbone(**options)


def test_model_without_features(monkeypatch):
    def create_model(*args, **kwargs):
        raise RuntimeError('features_only not implemented for Vision Transformer models.')

    monkeypatch.setattr(timm, 'create_model', create_model)
    with pytest.raises(UserError, match='test_vit.*cannot be a backbone.*features_only=True'):
        TIMMBackbone('test_vit')


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(UserError, match='pip install timm|cannot be imported'):
        TIMMBackbone('test_resnet')


def learn(model):
    """Compute one training step's gradients."""
    model.train()
    loss = sum(x.square().mean() for x in model(images()))
    if loss.requires_grad:
        loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('name', SMALL)
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(name):
    first = 1 if name in ('test_resnet', 'test_efficientnet') else 0
    model = TIMMBackbone(name, frozen_stages=first)
    before = copy.deepcopy(model.state_dict())
    gradients = learn(model)
    trained = [gradient is not None for gradient in gradients.values()]
    # The first parameters are frozen, all others trained.
    assert trained == sorted(trained)
    assert 0 < sum(trained) < len(trained)
    names = [name for name, gradient in gradients.items() if gradient is None]
    frozen = {name.rpartition('.')[0] for name in names}
    changed = {key.rpartition('.')[0] for key, value in model.state_dict().items()
               if not torch.equal(value, before[key])}
    assert not frozen & changed


def test_frozen_stage_of_a_resnet_is_the_stem_and_its_first_layer():
    model = TIMMBackbone('test_resnet', frozen_stages=1)
    tops = {name.split('.')[1] for name, p in model.named_parameters() if not p.requires_grad}
    assert tops == {'conv1', 'bn1', 'layer1'}


def test_norm_eval_keeps_statistics():
    model = TIMMBackbone('test_resnet', norm_eval=True)
    before = copy.deepcopy(model.state_dict())
    gradients = learn(model)
    assert all(gradient is not None for gradient in gradients.values())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize('name', [*SMALL, 'test_vit'])
def test_gradient_checkpointing_changes_nothing(name):
    """Gradients are equal, and statistics are updated once."""
    arguments = dict(model_args=dict(img_size=(64, 96))) if name == 'test_vit' else {}
    plain = TIMMBackbone(name, **arguments).double()
    saving = TIMMBackbone(name, with_cp=True, **arguments).double()
    saving.load_state_dict(plain.state_dict())
    x = images().double()
    for model in (plain, saving):
        model.train()
        sum(y.square().mean() for y in model(x)).backward()
    for (key, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), key
        if p.grad is not None:
            torch.testing.assert_close(q.grad, p.grad, rtol=1e-6, atol=1e-12, msg=key)
    for (key, value), other in zip(
            plain.state_dict().items(), saving.state_dict().values(), strict=True):
        assert torch.equal(value, other), key


def test_gradient_checkpointing_recomputes():
    """Only in training mode."""
    calls = []
    model = TIMMBackbone('test_resnet', with_cp=True)
    model.net.layer2.register_forward_pre_hook(lambda *_: calls.append(1))
    learn(model)
    assert len(calls) == 2
    model.eval()
    model(images())[-1].sum().backward()
    assert len(calls) == 3


def test_gradient_checkpointing_that_a_model_does_not_have(monkeypatch):
    net = timm.create_model('test_resnet', features_only=True)
    monkeypatch.setattr(type(net), 'set_grad_checkpointing', None)

    def decline(self, enable=True):
        assert not enable, 'gradient checkpointing not supported'

    monkeypatch.setattr(type(net), 'set_grad_checkpointing', decline)
    monkeypatch.setattr(timm, 'create_model', lambda *args, **kwargs: net)
    with pytest.raises(UserError, match='test_resnet.*no gradient checkpointing.*with_cp=False'):
        TIMMBackbone('test_resnet', with_cp=True)


def test_the_copy_of_a_checkpointed_model_is_independent():
    """An average of the weights (EMA) copies the model."""
    model = TIMMBackbone('test_resnet', with_cp=True)
    other = copy.deepcopy(model)
    learn(other)
    assert all(p.grad is None for p in model.parameters())
    hook, = other.net.bn1._forward_pre_hooks.values()
    assert hook.__self__ is other


@pytest.mark.parametrize('variant', ['lite0', 'lite1', 'lite2', 'lite3', 'lite4'])
def test_efficientnet_lite_has_the_shapes_of_timms(variant):
    """Both sides in the order of computation."""
    with torch.device('meta'):
        ours = EfficientNetLite(variant)
        theirs = timm.create_model(f'tf_efficientnet_{variant}', features_only=True)
    assert ours.out_channels == theirs.feature_info.channels()[1:]
    assert [tuple(p.shape) for p in ours.parameters()] == [
        tuple(p.shape) for p in theirs.parameters()]


def test_registered():
    assert isinstance(
        MODELS.build(dict(type='mmdet_centernet.TIMMBackbone', model_name='test_resnet')),
        TIMMBackbone)
