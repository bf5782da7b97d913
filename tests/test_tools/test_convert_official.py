"""tools/model_converters/convert_checkpoint.py on the original's and bubbliiiing's files.

Most tensors here are one value expanded to its shape: a file holds that value alone, so that
networks of any size cost nothing.
"""
import copy
import gzip
import json
import pickle
import zlib
from pathlib import Path

import pytest
import torch
from mmdet.models.backbones import ResNet
from mmengine.config import Config
from parity_weights import FOLDER

from mmdet_centernet.checkpoints import convert
from mmdet_centernet.checkpoints.convert import hint_for
from mmdet_centernet.checkpoints.read import read_checkpoint
from mmdet_centernet.errors import UserError

TOOL = 'model_converters/convert_checkpoint.py'
CONFIGS = Path(__file__).parents[2] / 'configs'
KEYS = {}
for keys_file in ('official_keys', 'bubbliiiing_keys'):
    KEYS.update(json.loads(gzip.decompress((FOLDER / f'{keys_file}.json.gz').read_bytes())))


def filled(shapes):
    """Tensors of these shapes, each with a value of its own."""
    weights = {}
    for name, shape in shapes.items():
        number = zlib.crc32(name.encode())
        value = torch.tensor(number) if name.endswith('tracked') else torch.tensor(
            number / 2 ** 32)
        weights[name] = value.expand(shape)
    return weights


def resnet_shapes(depth, deformable):
    """The original's ResNets of all depths: torchvision's network, and the rest of res_18's."""
    shapes = copy.deepcopy(KEYS['ctdet/resdcn_18' if deformable else 'ctdet/res_18'])
    for name in [name for name in shapes if name.startswith(('conv1', 'bn1', 'layer'))]:
        del shapes[name]
    with torch.device('meta'):
        backbone = ResNet(depth)
    shapes.update((name, list(value.shape)) for name, value in backbone.state_dict().items())
    channels = backbone.feat_dim
    if deformable:
        for part in ('', 'conv_offset_mask.'):
            shapes[f'deconv_layers.0.{part}weight'][1] = channels
    else:
        shapes['deconv_layers.0.weight'][0] = channels
    return shapes


def round_trip(tool, config, weights, folder, options=()):
    torch.save(dict(epoch=230, state_dict=weights), folder / 'theirs.pth')
    assert tool(TOOL, CONFIGS / config, folder / 'theirs.pth', folder / 'ours.pth',
                *options) == 0
    assert tool(TOOL, CONFIGS / config, folder / 'ours.pth', folder / 'back.pth', '--to',
                'official', *options) == 0
    back = torch.load(folder / 'back.pth', weights_only=True)
    assert back.keys() == {'epoch', 'state_dict'} and back['epoch'] == 230
    assert_equal(back['state_dict'], weights)


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


@pytest.mark.parametrize('entry, config', [
    ('ctdet/res_18', 'ctdet_coco_res18'), ('ctdet/resdcn_18', 'ctdet_coco_resdcn18'),
    ('ctdet/resdcn_101', 'ctdet_coco_resdcn101'), ('ctdet/dla_34', 'ctdet_coco_dla_2x'),
    ('multi_pose/dla_34', 'multi_pose_dla_3x'), ('multi_pose/hourglass', 'multi_pose_hg_1x'),
    ('ddd/dla_34', 'ddd_3dop')])
def test_round_trip(tool, tmp_path, entry, config):
    weights = filled(KEYS[entry])
    if entry == 'ctdet/dla_34':
        # Published files hold the classifier of the backbone too.
        weights.update(filled({'base.fc.weight': [1000, 512, 1, 1], 'base.fc.bias': [1000]}))
    weights = {f'module.{name}': value for name, value in weights.items()}
    torch.save(dict(epoch=1, state_dict=weights), tmp_path / 'wrapped.pth')
    weights = {name.removeprefix('module.'): value for name, value in weights.items()}
    round_trip(tool, f'official/{config}.py', weights, tmp_path)
    assert tool(TOOL, CONFIGS / f'official/{config}.py', tmp_path / 'wrapped.pth',
                tmp_path / 'same.pth') == 0
    ours = read_checkpoint(tmp_path / 'ours.pth')
    assert_equal(read_checkpoint(tmp_path / 'same.pth')['state_dict'], ours['state_dict'])
    meta = ours['meta']['dataset_meta']
    assert meta['classes'][0] == ('Pedestrian' if 'ddd' in config else 'person')
    if 'pose' in config:
        assert (len(meta['classes']), meta['num_keypoints'], len(meta['flip_pairs'])) == (1, 17, 8)


@pytest.mark.parametrize('deformable', [False, True], ids=['res', 'resdcn'])
@pytest.mark.parametrize('depth', [34, 50, 152])
def test_round_trip_of_other_depths(tool, tmp_path, depth, deformable):
    shapes = resnet_shapes(depth, deformable)
    channels = 512 if depth == 34 else 2048
    round_trip(
        tool, f'official/ctdet_coco_res{"dcn" if deformable else ""}18.py', filled(shapes),
        tmp_path, ('--cfg-options', f'model.backbone.depth={depth}',
                   f'model.neck.in_channels={channels}'))


def test_round_trip_of_half_precision_without_counters(tool, tmp_path):
    weights = {name: value.half() for name, value in filled(KEYS['ctdet/res_18']).items()
               if not name.endswith('num_batches_tracked')}
    round_trip(tool, 'official/ctdet_coco_res18.py', weights, tmp_path)


def test_a_trained_checkpoint_becomes_a_whole_file_of_the_original(tool, tmp_path):
    """Without the tensors that only the original has, as training writes it."""
    weights = filled(KEYS['ctdet/dla_34'])
    config = CONFIGS / 'official/ctdet_coco_dla_1x.py'
    torch.save(dict(epoch=3, state_dict=weights), tmp_path / 'theirs.pth')
    assert tool(TOOL, config, tmp_path / 'theirs.pth', tmp_path / 'ours.pth') == 0
    trained = read_checkpoint(tmp_path / 'ours.pth')
    assert set(trained.pop('official_unused')) == {
        name for name in weights if name.startswith(('base.level3.project', 'base.level4.pro'))}
    trained['state_dict'] = {
        name: value for name, value in trained['state_dict'].items()
        if not (name.startswith('neck.') and name.endswith('.conv.bias'))}
    torch.save(trained, tmp_path / 'ours.pth')
    assert tool(TOOL, config, tmp_path / 'ours.pth', tmp_path / 'back.pth', '--to', 'official',
                '--cfg-options', 'model.neck.conv_bias=False') == 0
    back = read_checkpoint(tmp_path / 'back.pth')['state_dict']
    assert {name: list(value.shape) for name, value in back.items()} == KEYS['ctdet/dla_34']
    assert not back['ida_up.node_1.conv.bias'].any()
    assert torch.equal(back['base.level4.project.0.weight'],
                       weights['base.level4.tree1.project.0.weight'])


@pytest.mark.parametrize('entry, config', [
    ('bubbliiiing/resnet50', 'bubbliiiing/resnet50_voc.py'),
    ('bubbliiiing/hourglass', 'bubbliiiing/hourglass_coco.py')])
def test_bubbliiiings_files(tool, tmp_path, entry, config):
    torch.save(filled(KEYS[entry]), tmp_path / 'theirs.pth')
    assert tool(TOOL, CONFIGS / config, tmp_path / 'theirs.pth', tmp_path / 'ours.pth') == 0
    written = read_checkpoint(tmp_path / 'ours.pth')
    assert len(written['state_dict']) == len(KEYS[entry])
    assert written['meta']['dataset_meta']['classes'][0] == (
        'aeroplane' if 'voc' in config else 'person')


@pytest.mark.parametrize('config, options, expected', [
    ('bubbliiiing/resnet50_voc.py', (), 'its head has batch norm'),
    ('centernet_r50_dlaup_140e_coco.py', (), 'its neck begins with 1x1 convolutions'),
    ('official/ctdet_coco_resdcn18.py', ('model.neck.num_deconv_filters=(64,32,16)',
                                         'model.bbox_head.in_channels=16'),
     'deconvolutions of 64/32/16 channels'),
    ('official/ctdet_coco_resdcn101.py', ('model.backbone.style=caffe', ), "style='caffe'"),
    ('official/ddd_3dop.py', ('model.bbox_head.with_location_offset=True', ),
     'it does not have the branch location_offset (DLA-34'),
])
def test_configs_that_the_original_cannot_express_are_refused(
        tool, tmp_path, capsys, config, options, expected):
    settings = Config.fromfile(CONFIGS / config)
    if 'filters' not in str(options):
        settings.merge_from_dict(dict(option.split('=') for option in options))
    else:
        settings.model.neck.num_deconv_filters = (64, 32, 16)
        settings.model.bbox_head.in_channels = 16
    state = convert._build_empty_model(settings).state_dict()
    torch.save(dict(state_dict=filled({k: v.shape for k, v in state.items()})),
               tmp_path / 'ours.pth')
    assert tool(TOOL, CONFIGS / config, tmp_path / 'ours.pth', tmp_path / 'back.pth', '--to',
                'official', *(('--cfg-options', *options) if options else ())) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: the original CenterNet cannot express this model: ')
    assert expected in error and error.count('\n') == 1
    assert not (tmp_path / 'back.pth').exists()


def of_counts(shapes, classes, keypoints):
    """Shapes of another repository's network for these numbers of classes and keypoints."""
    shapes = dict(shapes)
    for branch, channels in (('hm.2', classes), ('head.cls_head.3', classes),
                             ('hps.2', 2 * keypoints), ('hm_hp.2', keypoints)):
        for name in (f'{branch}.weight', f'{branch}.bias'):
            if name in shapes:
                shapes[name] = [channels, *shapes[name][1:]]
    return shapes


@pytest.mark.parametrize('entry, classes, keypoints, expected', [
    ('ctdet/resdcn_18', 80, 0, 'it fits configs/official/ctdet_coco_resdcn18.py'),
    ('ctdet/dla_34', 80, 0, 'it fits configs/official/ctdet_coco_dla_1x.py, '
     'configs/official/ctdet_coco_dla_2x.py'),
    ('ctdet/dla_34', 20, 0, 'it fits configs/official/ctdet_pascal_dla_384.py, '
     'configs/official/ctdet_pascal_dla_512.py'),
    ('ctdet/res_18', 3, 0, 'it fits configs/official/ctdet_coco_res18.py with --cfg-options '
     'model.bbox_head.num_classes=3'),
    ('bubbliiiing/resnet50', 20, 0, 'it fits configs/bubbliiiing/resnet50_voc.py'),
    ('ddd/dla_34', 3, 0, 'DLA-34, DLA-Up with DCNv2, heads 256 wide for heatmap, depth, '
     'orientation, dims, wh, offset, 3 classes; it fits configs/official/ddd_3dop.py, '
     'configs/official/ddd_sub.py'),
    ('multi_pose/dla_34', 1, 17, 'DLA-34, DLA-Up with DCNv2, heads 256 wide for heatmap, wh, '
     'keypoint_displacement, offset, keypoint_heatmap, keypoint_offset, 1 class, 17 keypoints; '
     'it fits configs/official/multi_pose_dla_1x.py, configs/official/multi_pose_dla_3x.py'),
    ('multi_pose/dla_34', 1, 5, 'configs/official/multi_pose_dla_3x.py with --cfg-options '
     'model.bbox_head.num_keypoints=5'),
    ('multi_pose/dla_34', 2, 5, 'configs/official/multi_pose_dla_3x.py with --cfg-options '
     'model.bbox_head.num_classes=2 model.bbox_head.num_keypoints=5'),
])
def test_without_a_config_it_says_which_fits(tool, tmp_path, capsys, monkeypatch, entry, classes,
                                             keypoints, expected):
    torch.save(filled(of_counts(KEYS[entry], classes, keypoints)), tmp_path / 'theirs.pth')
    monkeypatch.chdir(CONFIGS.parent)
    assert tool(TOOL, tmp_path / 'theirs.pth') == 0
    assert expected + '\n' in capsys.readouterr().out
    assert tool(TOOL, tmp_path / 'theirs.pth', tmp_path / 'new.pth') == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / 'new.pth').exists()


def test_networks_without_a_config(tool, tmp_path, capsys):
    weights = {name: value for name, value in filled(KEYS['ddd/dla_34']).items()
               if not name.startswith('rot.')}
    torch.save(weights, tmp_path / 'theirs.pth')
    assert tool(TOOL, tmp_path / 'theirs.pth') == 0
    assert capsys.readouterr().out.endswith(
        'heads 256 wide for heatmap, depth, dims, wh, offset, 3 classes; none of the '
        "package's configs fits it\n")


def test_other_numbers_of_classes_and_keypoints(tool, tmp_path, capsys):
    """Which option the config needs, and that the file fits with it."""
    torch.save(filled(of_counts(KEYS['multi_pose/dla_34'], 1, 5)), tmp_path / 'theirs.pth')
    arguments = (
        TOOL, CONFIGS / 'official/multi_pose_dla_1x.py', tmp_path / 'theirs.pth',
        tmp_path / 'ours.pth')
    assert tool(*arguments) == 1
    options = '--cfg-options', 'model.bbox_head.num_keypoints=5'
    assert capsys.readouterr().err.endswith(f'; it fits with {" ".join(options)}\n')
    assert tool(*arguments, *options) == 0
    # Neither COCO's skeleton nor its class are those of other keypoints.
    assert 'dataset_meta' not in read_checkpoint(tmp_path / 'ours.pth')['meta']


@pytest.mark.parametrize('config, expected', [
    ('official/ctdet_coco_dla_1x.py', '; nothing was written; it fits configs/official/'
     'ctdet_coco_resdcn18.py\n'),
    ('official/ctdet_pascal_resdcn18_384.py', '; nothing was written; it fits with '
     '--cfg-options model.bbox_head.num_classes=80\n'),
])
def test_a_wrong_config(tool, tmp_path, capsys, monkeypatch, config, expected):
    torch.save(filled(KEYS['ctdet/resdcn_18']), tmp_path / 'theirs.pth')
    monkeypatch.chdir(CONFIGS.parent)
    assert tool(TOOL, CONFIGS / config, tmp_path / 'theirs.pth', tmp_path / 'new.pth') == 1
    error = capsys.readouterr().err
    assert error.endswith(expected) and error.count('\n') == 1
    assert not (tmp_path / 'new.pth').exists()


def test_weights_that_fit_but_stride_elsewhere(tool, tmp_path, capsys):
    torch.save(filled(KEYS['bubbliiiing/resnet50']), tmp_path / 'theirs.pth')
    assert tool(TOOL, CONFIGS / 'bubbliiiing/resnet50_voc.py', tmp_path / 'theirs.pth',
                tmp_path / 'new.pth', '--cfg-options',
                'model.backbone.type=mmdet.ResNet') == 1
    assert "style='pytorch'" in capsys.readouterr().err
    assert not (tmp_path / 'new.pth').exists()


def test_colors_in_the_other_order_are_noted(tool, tmp_path, capsys):
    torch.save(filled(KEYS['ctdet/res_18']), tmp_path / 'theirs.pth')
    config = CONFIGS / 'official/ctdet_coco_res18.py'
    rgb = '--cfg-options', 'model.data_preprocessor.bgr_to_rgb=True'
    assert tool(TOOL, config, tmp_path / 'theirs.pth', tmp_path / 'ours.pth') == 0
    assert 'note' not in capsys.readouterr().out
    assert tool(TOOL, config, tmp_path / 'theirs.pth', tmp_path / 'ours.pth', *rgb) == 0
    assert 'note: the weights were trained on BGR' in capsys.readouterr().out
    assert tool(TOOL, config, tmp_path / 'ours.pth', tmp_path / 'back.pth', '--to', 'official',
                *rgb) == 0
    assert 'note: the model was trained on RGB' in capsys.readouterr().out


class Program:
    """What unpickling would call."""

    def __reduce__(self):
        return open, ('ran.txt', 'w')


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'old format'])
def test_bad_files(tool, tmp_path, capsys, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    config = CONFIGS / 'official/ctdet_coco_res18.py'
    weights = filled(KEYS['ctdet/res_18'])
    torch.save(dict(epoch=1, state_dict=weights, optimizer=dict(state={}, param_groups=[])),
               'good.pth', _use_new_zipfile_serialization=zipped)
    assert tool(TOOL, config, 'good.pth', 'ours.pth') == 0
    whole = Path('good.pth').read_bytes()
    Path('cut.pth').write_bytes(whole[:len(whole) // 2])
    torch.save(dict(epoch=1, optimizer=dict(state={0: torch.zeros(2)}, param_groups=[])),
               'optimizer.pth', _use_new_zipfile_serialization=zipped)
    torch.save(dict(state_dict=weights, extra=Program()), 'program.pth',
               _use_new_zipfile_serialization=zipped)
    Path('plain.pth').write_bytes(pickle.dumps(Program()))
    Path('folder.pth').mkdir()
    Path('link.pth').symlink_to('good.pth')
    Path('file').write_text('')
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in Path().iterdir()}
    for source, target, expected in (
            ('cut.pth', 'new.pth', 'checkpoint cut.pth '),
            ('optimizer.pth', 'new.pth', 'optimizer.pth holds no weights'),
            ('program.pth', 'new.pth', 'which is not plain data'),
            ('plain.pth', 'new.pth', 'plain.pth'),
            ('folder.pth', 'new.pth', 'is a folder'),
            ('gone.pth', 'new.pth', 'gone.pth does not exist'),
            ('good.pth', 'good.pth', 'is the checkpoint to read'),
            ('good.pth', 'link.pth', 'is the checkpoint to read'),
            ('good.pth', 'folder.pth', 'folder.pth is a folder'),
            ('good.pth', 'new.txt', 'name it *.pth'),
            ('good.pth', 'file/new.pth', 'file/new.pth cannot be written')):
        assert tool(TOOL, config, source, target) == 1, (source, target)
        error = capsys.readouterr().err
        assert expected in error and error.count('\n') == 1, error
    assert {path: path.stat().st_mtime_ns for path in Path().iterdir()} == before


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'old format'])
def test_files_cut_anywhere(tmp_path, zipped):
    path = tmp_path / 'cut.pth'
    torch.save(dict(epoch=1, state_dict={'a.weight': torch.ones(50), 'a.bias': torch.ones(5)}),
               path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match='cut.pth'):
            read_checkpoint(path)


def test_hints_at_the_converter():
    assert 'the original CenterNet (DLA)' in hint_for(KEYS['ctdet/dla_34'])
    assert "bubbliiiing's" in hint_for(KEYS['bubbliiiing/resnet50'])
    assert hint_for(['bbox_head.stacks.0.wh.0.weight']) == hint_for(['x.weight']) == ''


def test_testing_an_unconverted_file_names_the_converter(tool, trained, tmp_path, capsys):
    torch.save(dict(epoch=1, state_dict=filled(KEYS['ctdet/res_18'])), tmp_path / 'theirs.pth')
    assert tool('test.py', trained[0], tmp_path / 'theirs.pth', '--work-dir', tmp_path) == 1
    error = capsys.readouterr().err
    assert 'the original CenterNet (ResNet), which has to be converted first: python ' in error


def test_one_path_too_few(tool, capsys):
    assert tool(TOOL, CONFIGS / 'official/ctdet_coco_res18.py') == 1
    assert 'name the checkpoint too' in capsys.readouterr().err
