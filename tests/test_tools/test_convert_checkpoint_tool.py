"""tools/model_converters/convert_checkpoint.py on checkpoints of mmdet's own CenterNet."""
from collections import OrderedDict

import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.checkpoints import convert
from mmdet_centernet.checkpoints.read import read_checkpoint
from mmdet_centernet.datasets.skeleton import COCO_SKELETON, parse_skeleton
from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.deform_conv import modulated_deform_conv2d

TOOL = 'model_converters/convert_checkpoint.py'
CLASSES = ('square', 'disc')
OURS = """
default_scope = 'mmdet'
custom_imports = dict(imports=['mmdet_centernet'], allow_failed_imports=False)
model = dict(
    type='mmdet_centernet.CenterNet',
    data_preprocessor=dict(type='mmdet.DetDataPreprocessor', mean=[0, 0, 0],
                           std=[255, 255, 255], bgr_to_rgb=True, pad_size_divisor=32),
    backbone=dict(type='mmdet.ResNet', depth=18, norm_eval=False,
                  init_cfg=dict(type='Pretrained', checkpoint='nowhere.pth')),
    neck=dict(type='mmdet_centernet.CTResNetNeck', in_channels=512,
              num_deconv_filters=(32, 16, 8), num_deconv_kernels=(4, 4, 4), use_dcn={use_dcn}),
    bbox_head=dict(type='mmdet_centernet.CenterNetHead', num_classes=2, in_channels=8,
                   feat_channels=8),
    test_cfg=dict(topk=50, local_maximum_kernel=3, max_per_img=50))
"""


def write_config(folder, use_dcn=True, extra=''):
    path = folder / 'ours.py'
    path.write_text(OURS.format(use_dcn=use_dcn) + extra)
    return path


@pytest.fixture(scope='module', params=[True, False], ids=['dcn', 'plain'])
def theirs(request):
    """mmdet's model with random weights, every tensor different from its start."""
    config = Config.fromstring(OURS.format(use_dcn=request.param).replace(
        'mmdet_centernet.', 'mmdet.'), '.py')
    config.model.backbone.pop('init_cfg')
    init_default_scope('mmdet')
    model = MMDET_MODELS.build(config.model)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.add_(torch.randn(value.shape, generator=generator).mul(0.02))
                if name.endswith('running_var'):
                    value.abs_().add_(0.5)
    return model.eval(), request.param


def test_converted_model_computes_the_same(tool, theirs, tmp_path, capsys, monkeypatch):
    model, use_dcn = theirs
    # Their layer has mmcv's compiled kernel only; the kernels have tests of their own.
    monkeypatch.setattr('mmcv.ops.modulated_deform_conv.modulated_deform_conv2d',
                        modulated_deform_conv2d)
    config = write_config(tmp_path, use_dcn)
    torch.save(dict(meta=dict(dataset_meta=dict(classes=CLASSES, palette=[(1, 2, 3), (4, 5, 6)])),
                    state_dict=model.state_dict(), optimizer=dict(state={}, param_groups=[])),
               tmp_path / 'src.pth')
    assert tool(TOOL, config, tmp_path / 'src.pth', tmp_path / 'new' / 'dst.pth') == 0
    assert "MMDetection's CenterNet" in capsys.readouterr().out
    written = torch.load(tmp_path / 'new' / 'dst.pth', weights_only=True)
    assert written.keys() == {'meta', 'state_dict'}
    assert written['meta']['dataset_meta'] == dict(
        classes=CLASSES, palette=[(1, 2, 3), (4, 5, 6)])
    assert [p.name for p in (tmp_path / 'new').iterdir()] == ['dst.pth']

    ours = convert._build_model(Config.fromfile(config))
    ours.load_state_dict(written['state_dict'], strict=True)
    ours.eval()
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        (heatmap, ), (wh, ), (offset, ) = model(images, mode='tensor')
        output = ours(images, mode='tensor')[0][-1]
    torch.testing.assert_close(output['heatmap'].sigmoid(), heatmap, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(output['wh'], wh, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output['offset'], offset, rtol=1e-5, atol=1e-5)


def test_names_of_mmcv_before_1_3(theirs):
    model, use_dcn = theirs
    if not use_dcn:
        return
    old = OrderedDict((k.replace('.conv.conv_offset.', '.conv_offset.'), v)
                      for k, v in model.state_dict().items())
    assert old.keys() != model.state_dict().keys()
    table = convert.recognize(old).table()
    assert {table.to_ours(k) for k in old} == {table.to_ours(k) for k in model.state_dict()}
    assert None not in {table.to_ours(k) for k in old}


def test_our_own_checkpoint_is_recognized_and_slimmed(tool, tmp_path, capsys):
    config = write_config(tmp_path, use_dcn=False)
    ours = convert._build_model(Config.fromfile(config))
    torch.save(dict(state_dict={f'module.{k}': v for k, v in ours.state_dict().items()},
                    ema_state_dict={}, optimizer={}), tmp_path / 'src.pth')
    assert tool(TOOL, config, tmp_path / 'src.pth', tmp_path / 'dst.pth') == 0
    assert "this package's own CenterNet" in capsys.readouterr().out
    assert read_checkpoint(tmp_path / 'dst.pth').keys() == {'meta', 'state_dict'}


@pytest.mark.parametrize('change, expected', [
    (lambda w: w.pop('neck.deconv_layers.3.conv.weight'),
     '1 missing (neck.deconv_layers.3.conv.weight)'),
    (lambda w: w.update({'neck.more.weight': torch.zeros(1)}),
     '1 unknown to the model (neck.more.weight)'),
    (lambda w: w.update({'bbox_head.heatmap_head.2.bias': torch.zeros(80)}),
     '1 of another shape (bbox_head.stacks.0.heatmap.2.bias (80,) in the file, (2,) in the '
     'model)'),
])
def test_nothing_is_written_if_a_tensor_does_not_fit(tool, theirs, tmp_path, capsys, change,
                                                     expected):
    model, use_dcn = theirs
    weights = OrderedDict(model.state_dict())
    change(weights)
    torch.save(weights, tmp_path / 'src.pth')
    (tmp_path / 'dst.pth').write_bytes(b'precious')
    config = write_config(tmp_path, use_dcn)
    assert tool(TOOL, config, tmp_path / 'src.pth', tmp_path / 'dst.pth') == 1
    assert expected in capsys.readouterr().err
    assert (tmp_path / 'dst.pth').read_bytes() == b'precious'


def test_stranger_is_refused(tool, tmp_path, capsys):
    torch.save({'layer1.0.conv1.weight': torch.zeros(1)}, tmp_path / 'src.pth')
    assert tool(TOOL, write_config(tmp_path), tmp_path / 'src.pth', tmp_path / 'dst.pth') == 1
    error = capsys.readouterr().err
    assert 'not one of the checkpoints that can be converted' in error
    assert 'layer1.0.conv1.weight' in error
    assert not (tmp_path / 'dst.pth').exists()


def test_target_must_look_like_a_checkpoint(tool, tmp_path, capsys):
    assert tool(TOOL, write_config(tmp_path), tmp_path / 'src.pth', tmp_path / 'dst.txt') == 1
    assert '*.pth' in capsys.readouterr().err


@pytest.mark.parametrize('meta, extra, expected', [
    (dict(CLASSES=CLASSES), '', CLASSES),  # mmdet 2
    ({}, "test_dataloader = dict(dataset=dict(dataset=dict(metainfo=dict(classes=('a', 'b')))))",
     ('a', 'b')),
    (dict(dataset_meta=dict(classes=('one', ))), '', None),  # count differs
    ({}, "test_dataloader = dict(dataset=dict(type='mmdet_centernet.CocoDataset'))", None),
])
def test_names_of_classes(tmp_path, meta, extra, expected):
    config = Config.fromfile(write_config(tmp_path, extra=extra))
    found = convert.dataset_meta(meta, config, 2)
    assert (found and found['classes']) == expected


def test_names_of_a_data_set_class(tmp_path):
    config = Config.fromfile(write_config(tmp_path, extra=(
        "test_dataloader = dict(dataset=dict(type='mmdet_centernet.CocoDataset'))")))
    assert convert.dataset_meta({}, config, 80)['classes'][0] == 'person'


PAIR = ("metainfo=dict(classes=('stick', ), sigmas=[.1, .2], keypoint_info={"
        "0: dict(name='l_end', color=[1, 2, 3]), 1: dict(name='r_end')})")


@pytest.mark.parametrize('meta, data, num_keypoints, expected', [
    ({}, '', 17, ('person', 17)),
    ({}, '', None, ('person', None)),  # a detector's classes, no skeleton
    ({}, '', 5, None),  # the default skeleton is not the model's, nor then its class
    ({}, PAIR, 2, ('stick', 2)),
    ({}, PAIR, 3, None),
    ({}, "metainfo=dict(classes=('stick', ))", 2, ('stick', None)),  # the file alone knows it
    (dict(dataset_meta=dict(classes=('stick', ), **COCO_SKELETON)), PAIR, 17, ('stick', 17)),
    (dict(dataset_meta=dict(classes=('stick', ), **COCO_SKELETON)), PAIR, 2, ('stick', 2)),
])
def test_names_of_joints(tmp_path, meta, data, num_keypoints, expected):
    config = Config.fromfile(write_config(tmp_path, extra=(
        f"test_dataloader = dict(dataset=dict(type='mmdet_centernet.CocoPoseDataset', {data}))")))
    found = convert.dataset_meta(meta, config, 1, num_keypoints)
    assert (found and (found['classes'][0], found.get('num_keypoints'))) == expected
    if found:
        assert {'classes'} <= found.keys() <= {'classes', 'palette', 'skeletons', *COCO_SKELETON}
        assert len(found.get('palette', [()])) == 1
        # Plain data, which a file of weights may hold.
        torch.save(found, tmp_path / 'meta.pth')
        assert torch.load(tmp_path / 'meta.pth', weights_only=True) == found
    if expected == ('stick', 2):
        assert found['flip_pairs'] == [(0, 1)] and found['sigmas'] == [0.1, 0.2]
        assert found['keypoint_colors'][0] == (1, 2, 3)
        assert found['keypoint_id2name'] == {0: 'l_end', 1: 'r_end'}
    if expected == ('person', 17):
        assert {key: found[key] for key in COCO_SKELETON} == COCO_SKELETON


SKELETONS = dict(
    person=COCO_SKELETON, stick=parse_skeleton(category=dict(keypoints=['l_end', 'r_end'])))


@pytest.mark.parametrize('num_keypoints, known', [(17, True), (2, True), (None, False), (5, None)])
def test_names_of_several_skeletons(tmp_path, num_keypoints, known):
    """A model may have all of them, or one."""
    theirs = dict(classes=('person', 'stick', 'disc'), num_keypoints=17, skeletons=SKELETONS)
    config = Config.fromfile(write_config(tmp_path))
    found = convert.dataset_meta(dict(dataset_meta=theirs), config, 3, num_keypoints)
    assert found == (None if known is None else theirs if known else dict(
        classes=theirs['classes']))


def test_interrupted_writing_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / 'dst.pth').write_bytes(b'precious')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full)
    with pytest.raises(UserError, match='dst.pth cannot be written: No space left on device'):
        convert.write_checkpoint({}, tmp_path / 'dst.pth')
    assert [p.name for p in tmp_path.iterdir()] == ['dst.pth']
    assert (tmp_path / 'dst.pth').read_bytes() == b'precious'


def test_unknown_names_raise():
    with pytest.raises(UserError, match='x.weight, y.weight'):
        convert.recognize(['x.weight', 'y.weight'])
