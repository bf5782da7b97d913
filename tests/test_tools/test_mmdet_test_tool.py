"""MMDetection's own tools/test.py with configs of this repository, and with ``--tta``."""
import pickle
import runpy
import sys
from pathlib import Path

import mmdet
import mono3d_project
import pose_project
import processes
import pytest
import tiny_project
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.registry import MODELS

MMDETS_TOOL = Path(mmdet.__file__).parent / '.mim/tools/test.py'
# Task -> a config of this repository, and what it takes to test it on the project's data.
PROJECTS = dict(
    detection=(tiny_project.write_data, """
_base_ = '{configs}/centernet_lite0_tree_crowns.py'
metainfo = dict(classes=('square', 'disc'), palette=[(220, 20, 60), (0, 0, 255)])
model = dict(backbone=dict(init_cfg=None), bbox_head=dict(num_classes=2))
test_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
        data_root='{data}/', metainfo=metainfo, ann_file='train.json', data_prefix=dict(img='')))
test_evaluator = dict(ann_file='{data}/train.json')
"""),
    pose=(pose_project.write_data, """
_base_ = '{configs}/centernet_pose_lite0_figures.py'
metainfo = dict(classes=('square', 'disc'), palette=[(220, 20, 60), (0, 0, 255)],
                sigmas=[0.1, 0.1, 0.1, 0.1])
model = dict(
    backbone=dict(init_cfg=None), bbox_head=dict(num_classes=2, num_keypoints=4))
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(
        data_root='{data}/', metainfo=metainfo, ann_file='train.json', data_prefix=dict(img='')))
test_evaluator = dict(ann_file='{data}/train.json', metric='keypoints')
"""),
    mono3d=(mono3d_project.write_data, """
_base_ = '{configs}/centernet_mono3d_lite0_road_scenes.py'
model = dict(backbone=dict(init_cfg=None))
test_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(data_root='{data}/', ann_file='train.txt'))
test_evaluator = dict(label_dir='{data}/training/label_2/', split_file='{data}/train.txt')
"""))
# MMDetection's way to write flip testing, at two scales; after the sizing, so that the flipped
# image is exactly that of the network's input.
MMDETS_PIPELINE = """
tta_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='TestTimeAug', transforms=[
        [dict(type='mmdet_centernet.CenterPad', scale=scale) for scale in (1.0, 1.5)],
        [dict(type='mmdet.RandomFlip', prob=1.0), dict(type='mmdet.RandomFlip', prob=0.0)],
        [dict(type='mmdet.LoadAnnotations', with_bbox=True)],
        [dict(type='mmdet.PackDetInputs', meta_keys=_base_.meta_keys + ('flip', ))]])]
"""


def run_mmdets_tool(arguments):
    """Run MMDetection's tool as its command line does."""
    sys.argv = [str(MMDETS_TOOL), *arguments]
    runpy.run_path(str(MMDETS_TOOL), run_name='__main__')


def mmdets_predictions(config, checkpoint, folder, *options):
    """Return what MMDetection's tool writes, in a process of its own."""
    process = processes.start(run_mmdets_tool, [
        str(config), str(checkpoint), '--work-dir', str(folder / 'mmdet'), '--out',
        str(folder / 'mmdet.pkl'), *options])
    process.join(timeout=120)
    assert process.exitcode == 0
    return read(folder / 'mmdet.pkl')


def read(path):
    """Return the predictions of a pickle that the test itself had written."""
    return [each['pred_instances'] for each in pickle.loads(path.read_bytes())]


@pytest.fixture
def project(tmp_path):
    """Write the data, a config and a random checkpoint of a task."""
    def write(task, more=''):
        write_data, text = PROJECTS[task]
        config = tmp_path / f'{task}.py'
        data = tmp_path / 'data'
        if not data.exists():
            write_data(tmp_path)
        config.write_text(
            text.format(configs=tiny_project.ROOT / 'configs', data=data) + more)
        init_default_scope('mmdet')
        torch.manual_seed(0)
        model = MODELS.build(Config.fromfile(config).model)
        model.init_weights()
        for branch in model.bbox_head.stacks[0].values():
            torch.nn.init.normal_(branch[-1].weight, std=0.1)
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'random.pth')
        return config, tmp_path / 'random.pth'
    return write


def assert_equal(found, expected):
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name, values in ours.items():
            torch.testing.assert_close(values, theirs[name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize('task', PROJECTS)
def test_tta_of_mmdets_tool_is_that_of_ours(tool, project, tmp_path, task):
    config, checkpoint = project(task)
    theirs = mmdets_predictions(config, checkpoint, tmp_path, '--tta')
    results = {}
    for name, options in (('config', ['--tta']), ('plain', [])):
        assert tool('test.py', config, checkpoint, '--work-dir', tmp_path / name, '--out',
                    tmp_path / f'{name}.pkl', *options) == 0
        results[name] = read(tmp_path / f'{name}.pkl')
    assert_equal(theirs, results['config'])
    with pytest.raises(AssertionError):
        assert_equal(theirs, results['plain'])


def test_flips_of_mmdets_pipeline_are_merged_as_ours(tool, project, tmp_path):
    config, checkpoint = project('detection', MMDETS_PIPELINE)
    theirs = mmdets_predictions(config, checkpoint, tmp_path, '--tta')
    plain = project('detection', '\n'.join(
        line for line in MMDETS_PIPELINE.splitlines() if 'RandomFlip' not in line))[0]
    assert tool('test.py', plain, checkpoint, '--tta', '--work-dir', tmp_path / 'ours', '--out',
                tmp_path / 'ours.pkl') == 0
    assert_equal(theirs, read(tmp_path / 'ours.pkl'))


def test_scales_of_a_pipeline_are_refused_for_3d_boxes(tool, project, tmp_path, capsys):
    config, checkpoint = project('mono3d', """
load, sizing, *others = _base_.test_pipeline
tta_pipeline = [load, dict(type='TestTimeAug', transforms=[
    [dict(sizing, scale=scale) for scale in (1.0, 1.5)], *([step] for step in others)])]
""")
    assert tool('test.py', config, checkpoint, '--tta', '--work-dir', tmp_path / 'ours') == 1
    assert 'gives 2 scales, which is not for 3D boxes' in capsys.readouterr().err
