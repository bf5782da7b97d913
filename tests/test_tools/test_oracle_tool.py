"""tools/analysis_tools/oracle.py, called as its command line calls it, and what it measures."""
import json
import pickle
import re

import pytest
import torch
from tiny_project import write_config, write_data

from mmdet_centernet.analysis.oracle import Experiment, measure
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.models import CenterNet

TOOL = 'analysis_tools/oracle.py'
AP = 'coco/bbox_mAP'


def last_error(capsys):
    """Return the error message that the tool printed."""
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    return error


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Five images: the last batch of two is not full; objects apart from each other."""
    return write_data(tmp_path_factory.mktemp('oracle'), num_images=5, seed=4)


@pytest.fixture
def config(data, tmp_path):
    return write_config(tmp_path, data, 'oracle.py')


@pytest.fixture
def load(config):
    """The config, with further lines."""
    def load(extra=''):
        config.write_text(config.read_text() + extra)
        return load_config(str(config))
    return load


def test_ceiling_without_a_network(tool, config, capsys, monkeypatch):
    def run(*arguments):
        raise AssertionError('the network runs')

    monkeypatch.setattr(CenterNet, 'extract_feat', run)
    assert tool(TOOL, config, '--stride', 4, 8, '--cfg-options',
                'model.backbone.init_cfg.type=Pretrained',
                'model.backbone.init_cfg.checkpoint=/not/there.pth') == 0
    captured = capsys.readouterr()
    text = captured.out
    assert '5 images with 15 objects, and 0 to ignore; at most 20 detections' in text
    rows = re.findall(r'(?m)^ ?(\d+) +(all|all, offset mid-cell) +([\d.]+) ', text)
    assert [row[:2] for row in rows] == [
        (stride, origin) for stride in '48' for origin in ('all', 'all, offset mid-cell')]
    assert 'Average Precision' not in text and 'Evaluating' not in text + captured.err
    assert rows[0][2] == '1.000' and float(rows[1][2]) < 0.95
    # A terminal of 80 columns shows the table whole.
    assert all(len(line) <= 80 for line in text.splitlines() if line.startswith(' stride'))


def test_combinations_with_a_network(tool, trained, capsys):
    config, work = trained
    assert tool(TOOL, config, '--checkpoint', work / 'epoch_2.pth') == 0
    rows = re.findall(r'(?m)^ ?4 +(.+?)  +([\d.]+) ', capsys.readouterr().out)
    assert [origin for origin, _ in rows] == [
        'none', 'heatmap', 'wh', 'offset', 'heatmap, wh', 'heatmap, offset', 'wh, offset', 'all']
    assert rows[-1][1] == '1.000' and float(rows[0][1]) < 0.5
    assert tool(TOOL, config, '--checkpoint', work / 'epoch_2.pth', '--parts', 'wh', 'heatmap',
                ) == 0
    assert re.findall(r'(?m)^ ?4 +(.+?)  ', capsys.readouterr().out) == [
        'none', 'wh', 'heatmap', 'heatmap, wh']


def dumped(config, checkpoint, parts, path):
    """Return the predictions of the last row."""
    config = load_config(str(config))
    config.test_evaluator = [dict(type='mmdet.DumpDetResults', out_file_path=str(path))]
    measure(config, checkpoint, parts)
    return [each['pred_instances'] for each in pickle.loads(path.read_bytes())]


def test_only_what_is_replaced_differs_from_testing(tool, tiny_data, trained, tmp_path):
    config, work = trained
    checkpoint = str(work / 'epoch_2.pth')
    assert tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'work', '--out',
                tmp_path / 'out.pkl') == 0
    tested = [each['pred_instances'] for each in pickle.loads((tmp_path / 'out.pkl').read_bytes())]
    plain, sized, placed, peaked = (
        dumped(config, checkpoint, parts, tmp_path / f'{len(parts)}.pkl')
        for parts in ((), ('wh', ), ('offset', ), ('heatmap', )))
    truth = json.loads((tiny_data / 'train.json').read_text())
    sides = torch.tensor(sorted({each['bbox'][2] for each in truth['annotations']})).float()
    for a, b, c, d, e in zip(tested, plain, sized, placed, peaked, strict=True):
        for name in ('bboxes', 'scores', 'labels'):
            assert torch.equal(a[name], b[name])
        assert torch.equal(a['scores'], c['scores']) and torch.equal(a['scores'], d['scores'])
        assert (e['scores'] == 1).all() and len(e['scores']) == 3
        size = c['bboxes'][:, 2:] - c['bboxes'][:, :2]
        assert (size[..., None] - sides).abs().amin(dim=-1).max() < 1e-3
        size_before, size_after = (x['bboxes'][:, 2:] - x['bboxes'][:, :2] for x in (a, d))
        torch.testing.assert_close(size_before, size_after)
        assert not torch.equal(a['bboxes'], d['bboxes'])


FLIP = """
test_pipeline.insert(2, dict(type='mmdet.RandomFlip', prob=1.0))
test_dataloader['dataset']['pipeline'] = test_pipeline
"""
STRETCH = """
test_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=(131, 77), keep_ratio=False),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
"""
FIT = """
test_pipeline[1] = dict(type='mmdet_centernet.CenterResize', size=(256, 128))
test_dataloader['dataset']['pipeline'] = test_pipeline
test_dataloader['sampler']['shuffle'] = True
"""


@pytest.mark.parametrize('extra', [FLIP, STRETCH, FIT])
def test_the_way_back_through_any_pipeline(load, extra):
    outcome = measure(load(extra))
    assert outcome.metrics[Experiment(4)][AP] == pytest.approx(1, abs=1e-6)
    assert (outcome.images, outcome.objects, outcome.limit) == (5, 15, 20)


def test_crowds_are_not_looked_for(load, data):
    content = json.loads((data / 'train.json').read_text())
    content['annotations'][0]['iscrowd'] = 1
    (data / 'crowd.json').write_text(json.dumps(content))
    outcome = measure(load(f"""
test_dataloader['dataset']['ann_file'] = 'crowd.json'
val_evaluator['ann_file'] = {str(data / 'crowd.json')!r}
"""))
    assert (outcome.objects, outcome.ignored) == (14, 1)
    assert outcome.metrics[Experiment(4)][AP] == pytest.approx(1, abs=1e-6)


def test_two_metrics_have_names_of_their_own(tool, load, config, capsys):
    load("""
test_evaluator = [val_evaluator, dict(type='mmdet.VOCMetric', metric='mAP',
                                      eval_mode='11points')]
""")
    assert tool(TOOL, config) == 0
    text = capsys.readouterr().out
    assert 'coco/AP ' in text and 'pascal_voc/mAP ' in text
    assert 'No object shares a cell' in text


def test_what_is_lost_is_said(tool, load, config, capsys):
    load("model['test_cfg'] = dict(max_per_img=2)")
    assert tool(TOOL, config) == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert 'at most 2 detections' in text and '1.000 1.000' not in text
    assert re.search(r'never found: more in the image than it may have detections +5', text)


@pytest.mark.parametrize('extra, arguments, words', [
    ('test_evaluator = None\n', (), 'the config has no test_evaluator'),
    ('test_dataloader = None\n', (), 'the config has no test_dataloader'),
    ("model['bbox_head']['num_classes'] = 5\n", (), '2 classes (square, disc) according to'),
    ("model['bbox_head'] = dict(type='mmdet.CenterNetHead', in_channels=8, feat_channels=8, "
     'num_classes=2)\n', (), 'the head is a CenterNetHead, but the oracle replaces the outputs'),
    ("model['bbox_head'] = dict(type='mmdet_centernet.CenterNetPoseHead', num_classes=2, "
     'in_channels=8)\n', (), 'comes without keypoints: train on a'),
    ('', ('--checkpoint', 'trained', '--parts', 'depth'), "the model has no branch 'depth'"),
    ('', ('--parts', 'wh'), '--parts needs --checkpoint'),
    ('', ('--checkpoint', 'CHECKPOINT', '--stride', '4'), 'only be tried without a checkpoint'),
    ('', ('--checkpoint', 'CHECKPOINT'), "does not fit the config's model"),
    ('', ('--checkpoint', 'nowhere.pth'), 'nowhere.pth does not exist'),
    ("test_dataloader['dataset']['ann_file'] = 'empty.json'\n", (), 'no objects'),
    ("test_dataloader['dataset']['ann_file'] = 'bare.json'\n", (), 'lists no image at all'),
    ("val_evaluator['ann_file'] = 'gone.json'\n", (), 'gone.json'),
])
def test_mistakes_end_in_an_error_message(tool, load, config, data, trained, tmp_path, capsys,
                                          extra, arguments, words):
    content = json.loads((data / 'train.json').read_text())
    (data / 'empty.json').write_text(json.dumps(dict(content, annotations=[])))
    (data / 'bare.json').write_text(json.dumps(dict(content, annotations=[], images=[])))
    torch.save({'state_dict': {'fc.weight': torch.zeros(2)}}, tmp_path / 'stranger.pth')
    load(extra)
    files = dict(CHECKPOINT=tmp_path / 'stranger.pth', trained=trained[1] / 'epoch_2.pth')
    arguments = [files.get(argument, argument) for argument in arguments]
    assert tool(TOOL, config, *arguments) == 1
    assert words in last_error(capsys)


def test_strides_are_positive(tool, config, capsys):
    with pytest.raises(SystemExit) as stop:
        tool(TOOL, config, '--stride', 0)
    assert stop.value.code == 2
    assert '0 is below 1' in capsys.readouterr().err
