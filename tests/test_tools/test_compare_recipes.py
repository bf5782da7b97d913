"""tools/analysis_tools/compare_recipes.py, called as its command line calls it, and its parts."""
import json
import random
import statistics
from pathlib import Path

import numpy as np
import pytest
from mmengine import Config
from mmengine.runner import IterBasedTrainLoop
from tiny_project import CLASSES, HEIGHT, ROOT, WIDTH, write_config, write_data

from mmdet_centernet.analysis.recipe_comparison import (
    DataSet,
    default_limit,
    figures_of,
    fit_to_data,
    fit_to_steps,
    markdown,
    read_data,
    summarize,
)
from mmdet_centernet.errors import UserError

TOOL = 'analysis_tools/compare_recipes.py'
PEERS = ROOT / 'tools' / 'analysis_tools' / 'peers'
XML = """<annotation><size><width>{w}</width><height>{h}</height></size>{objects}</annotation>"""
OBJECT = """<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax>
<ymax>{}</ymax></bndbox></object>"""


def last_error(capsys):
    """Return the error message that the tool printed."""
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    return error


@pytest.fixture
def coco(tiny_data):
    return f'coco:{tiny_data / "train.json"},{tiny_data / "train.json"},{tiny_data}'


@pytest.fixture
def voc(tmp_path):
    """A Pascal VOC folder with three classes; one box has no size."""
    data = write_data(tmp_path / 'voc', num_images=4)
    for folder in ('Annotations', 'ImageSets/Main', 'JPEGImages'):
        (data / folder).mkdir(parents=True)
    content = json.loads((data / 'train.json').read_text())
    for image in content['images']:
        boxes = [each['bbox'] for each in content['annotations']
                 if each['image_id'] == image['id']]
        objects = ''.join(OBJECT.format(name, x + 1, y + 1, x + w + 1, y + h + 1)
                          for name, (x, y, w, h) in zip(('leaf', 'bud', 'ant'), boxes))
        (data / f'Annotations/{image["id"]}.xml').write_text(XML.format(
            w=WIDTH, h=HEIGHT, objects=objects + OBJECT.format('ant', 5, 5, 5, 5)))
        (data / image['file_name']).rename(data / f'JPEGImages/{image["id"]}.jpg')
    (data / 'ImageSets/Main/train.txt').write_text('0\n1\n2\n')
    (data / 'ImageSets/Main/val.txt').write_text('3\n')
    return data


def test_comparison_is_recorded_and_continued(tool, coco, tiny_data, tmp_path, capsys,
                                               monkeypatch):
    first = write_config(tmp_path, tiny_data, 'first.py', num_classes=7)
    second = write_config(tmp_path, tiny_data, 'second.py', extra="""
dataset['type'] = 'no such data set'
train_dataloader['dataset'] = dict(type='RepeatDataset', times=3, dataset=dataset)
""")
    work = tmp_path / 'work'
    arguments = (TOOL, first, second, '--data', coco, '--steps', 3, '--work-dir', work,
                 '--cfg-options', 'optim_wrapper.optimizer.lr=0.002')
    run = IterBasedTrainLoop.run

    def stop_at_the_second(loop):
        if 'second' in loop.runner.work_dir:
            raise KeyboardInterrupt
        return run(loop)

    monkeypatch.setattr(IterBasedTrainLoop, 'run', stop_at_the_second)
    assert tool(*arguments, '--seeds', 5) == 130
    captured = capsys.readouterr()
    assert 'run 2/2: second, seed 5, 3 steps; about' in captured.out
    assert '--resume' in captured.err
    monkeypatch.undo()
    assert tool(*arguments, '--seeds', 5) == 1
    assert 'continue it with --resume' in last_error(capsys)
    assert tool(*arguments, '--seeds', 5, '--resume') == 0
    assert 'run 1/1: second, seed 5' in capsys.readouterr().out
    results = json.loads((work / 'results.json').read_text())
    assert [(each['config'], each['seed'], each['images']) for each in results['runs']] == [
        ('first', 5, 6), ('second', 5, 6)]
    assert all(0 <= each['AP'] <= 1 and list(each['classes']) == list(CLASSES)
               and each['train_seconds'] > 0 for each in results['runs'])
    assert results['settings']['max_per_img'] == 100
    rows = (work / 'results.md').read_text().splitlines()
    assert rows[2].startswith('| first | 1 | 3 | 6 | 0.0 | 1.00 | ') and len(rows) == 4
    assert (work / 'second/seed_5/iter_3.pth').is_file()
    # What is finished is trained no more, but only with the same settings and configs.
    assert tool(*arguments[:-1], 'optim_wrapper.optimizer.lr=0.1', '--resume') == 1
    assert 'is of a comparison with cfg_options' in last_error(capsys)
    first.write_text(first.read_text() + "model['bbox_head']['feat_channels'] = 4\n")
    assert tool(*arguments, '--seeds', 5, '--resume') == 1
    assert 'config first has changed since' in last_error(capsys)


def test_voc_folder_and_equal_time(tool, voc, tiny_data, tmp_path):
    config = write_config(tmp_path, tiny_data, 'timed.py')
    assert tool(TOOL, config, '--data', f'voc:{voc}', '--minutes', 0.005, '--seeds', 0,
                '--work-dir', tmp_path / 'work', '--max-per-img', 150) == 0
    results = json.loads((tmp_path / 'work/results.json').read_text())
    run, = results['runs']
    assert list(run['classes']) == ['ant', 'bud', 'leaf']
    assert run['steps'] >= 1 and results['settings']['minutes'] == 0.005
    assert run['APl'] is None  # the drawn objects are small


def test_a_failed_run_does_not_stop_the_others(tool, coco, tiny_data, tmp_path, capsys):
    # The third step has another learning rate than the trial's two.
    wild = write_config(tmp_path, tiny_data, 'wild.py', extra="""
param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=1e30)]
""")
    calm = write_config(tmp_path, tiny_data, 'calm.py')
    work = tmp_path / 'work'
    assert tool(TOOL, wild, calm, '--data', coco, '--steps', 6, '--seeds', 0, '--work-dir',
                work) == 1
    assert '1 of 2 runs failed (wild, seed 0: ' in last_error(capsys)
    runs = json.loads((work / 'results.json').read_text())['runs']
    assert ['error' in run for run in runs] == [True, False]
    assert '| calm | 1 | 6 | 12 | 0.0 | - |' in (work / 'results.md').read_text()


@pytest.mark.parametrize('data, arguments, words', [
    ('zip:somewhere', (), 'neither voc:FOLDER nor coco:'),
    ('coco:a.json,b.json', (), 'neither voc:FOLDER nor coco:'),
    ('coco:{0}/train.json,{0}/gone.json,{0}', (), 'gone.json does not exist'),
    ('coco:{0}/gone.json,{0}/train.json,{0}', (), 'gone.json does not exist'),
    ('coco:{0}/img_0.png,{0}/train.json,{0}', (), 'img_0.png is not in COCO format'),
    ('coco:{0}/train.json,{0}/train.json,{0}/gone', (), 'folder of images'),
    ('coco:{0}/train.json,{0}/train.json,{0}', ('--val-split', 'val'), 'leave the splits out'),
    ('voc:{0}', (), 'train.txt does not exist'),
    ('coco:{0}/train.json,{0}/train.json,{0}', ('--seeds', '1', '1'), 'a seed twice'),
    ('coco:{0}/train.json,{0}/train.json,{0}', ('CONFIG', ), 'a config is given twice'),
    ('coco:{0}/train.json,{0}/train.json,{0}', ('gone.py', ), 'config gone.py does not exist'),
    ('coco:{0}/train.json,{0}/train.json,{0}', ('--cfg-options', 'train_cfg=None'),
     'cannot be compared: it has no train_cfg'),
    ('coco:{0}/train.json,{0}/train.json,{0}', ('--cfg-options', 'model.bbox_head.in_channels=9'),
     'does not train on coco:'),
])
def test_mistakes_end_in_an_error_message_before_training(
        tool, tiny_data, tmp_path, capsys, data, arguments, words):
    config = write_config(tmp_path, tiny_data, 'mistaken.py')
    arguments = [config if each == 'CONFIG' else each for each in arguments]
    before = [each for each in arguments if str(each).endswith('.py')]
    after = [each for each in arguments if each not in before]
    assert tool(TOOL, config, *before, '--data', data.format(tiny_data), '--steps', 2,
                '--work-dir', tmp_path / 'work', *after) == 1
    assert words in last_error(capsys)
    assert not (tmp_path / 'work/results.json').exists()


def test_schedule_is_stretched():
    hook = dict(type='mmengine.EMAHook', begin_epoch=2)
    config = Config(dict(
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=10), train_dataloader=dict(),
        param_scheduler=[
            dict(type='LinearLR', by_epoch=False, begin=0, end=20),
            dict(type='CosineAnnealingLR', T_max=9, begin=1, end=10, convert_to_iter_based=True),
            dict(type='MultiStepLR', milestones=[5, 8])],
        custom_hooks=[hook, dict(type='mmengine.EmptyCacheHook', after_epoch=True),
                      dict(type='mmdet_centernet.PipelineSwitchHook', switch_epoch=8)]))
    fit_to_steps(config, 125)
    assert config.custom_hooks[2].switch_iter == 100
    assert 'switch_epoch' not in config.custom_hooks[2]
    warm_up, cosine, multi_step = config.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 20)
    assert (cosine.begin, cosine.end, cosine.T_max) == (12, 125, 112)
    assert multi_step.milestones == [62, 100]
    assert not any(each.by_epoch or 'convert_to_iter_based' in each
                   for each in config.param_scheduler)
    assert config.custom_hooks[0] == dict(type='mmengine.EMAHook', begin_iter=25)
    assert config.train_cfg.max_iters == config.train_cfg.val_interval == 125
    by_iteration = Config(dict(
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1000), train_dataloader=dict(),
        param_scheduler=dict(type='LinearLR', by_epoch=False, begin=0, end=100),
        custom_hooks=[dict(type='mmdet_centernet.PipelineSwitchHook', switch_iter=900)]))
    fit_to_steps(by_iteration, 500)
    assert by_iteration.param_scheduler[0].end == 50
    assert by_iteration.custom_hooks[0].switch_iter == 450


@pytest.mark.parametrize('changes, words', [
    (dict(param_scheduler=[dict(type='ExponentialLR', gamma=0.9)]), 'ExponentialLR, whose length'),
    (dict(param_scheduler=[dict(type='LinearLR', by_epoch=False, end=1000)]),
     'ends at iteration 1000'),
    (dict(train_cfg=dict(max_iters=50), param_scheduler=[dict(type='LinearLR', end=2)]),
     'LinearLR by epochs'),
    (dict(train_cfg=dict(type='Loop')), 'neither max_epochs nor max_iters'),
    (dict(custom_hooks=[dict(type='mmdet_centernet.FreezeHook', epochs=5)]),
     'FreezeHook with epochs=5'),
    (dict(custom_hooks=[dict(type='mmdet.PipelineSwitchHook', switch_epoch=5)]),
     'use mmdet_centernet.PipelineSwitchHook'),
])
def test_schedule_that_cannot_be_stretched(changes, words):
    config = Config(dict(
        dict(train_cfg=dict(max_epochs=10), train_dataloader=dict()), **changes))
    with pytest.raises(UserError, match=words):
        fit_to_steps(config, 100)


def test_heads_at_any_depth_get_classes_and_limit():
    data = DataSet('x', ('a', 'b', 'c'), dict(type='T'), dict(type='V'), dict(ann_file='v.json'),
                   most=320, needs_instances=False)
    assert default_limit(data) == 640
    pipeline = [dict(type='mmdet.PackDetInputs')]
    leaf = dict(type='Old', ann_file='old.json', pipeline=pipeline)
    head = dict(num_classes=80, properties=[dict(type='Attribute', num_classes=4)])
    config = Config(dict(
        model=dict(
            bbox_head=head, test_cfg=dict(topk=100, nms_pre=1000),
            student=dict(roi_head=dict(bbox_head=[dict(num_classes=80)]),
                         test_cfg=dict(rcnn=dict(max_per_img=5)))),
        train_dataloader=dict(dataset=dict(
            type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[leaf, leaf]))),
        val_dataloader=dict(dataset=leaf)))
    fit_to_data(config, data, 640)
    assert config.model.bbox_head.num_classes == 3
    assert config.model.student.roi_head.bbox_head[0].num_classes == 3
    assert config.model.bbox_head.properties[0].num_classes == 4
    assert config.model.test_cfg == dict(topk=640, nms_pre=1000, max_per_img=640)
    assert config.model.student.test_cfg.rcnn.max_per_img == 640
    assert config.train_dataloader.dataset == dict(type='RepeatDataset', dataset=dict(
        type='T', filter_cfg=dict(filter_empty_gt=True, min_size=0), pipeline=pipeline))
    assert config.val_dataloader.dataset == dict(type='V', test_mode=True, pipeline=pipeline)
    assert config.val_evaluator.proposal_nums == (10, 100, 640)


def test_ap_counts_more_than_a_hundred_detections(tmp_path):
    from mmdet.evaluation import CocoMetric
    count = 130
    boxes = [[13 * (i % 12), 13 * (i // 12), 10, 10] for i in range(count)]
    (tmp_path / 'val.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.png', width=200, height=200)],
        categories=[dict(id=1, name='cell')],
        annotations=[dict(id=i + 1, image_id=1, category_id=1, bbox=box, area=100, iscrowd=0)
                     for i, box in enumerate(boxes)])))
    config = Config(dict(
        model=dict(), train_dataloader=dict(dataset=dict(pipeline=[])),
        val_dataloader=dict(dataset=dict(pipeline=[]))))
    data = read_data(f'coco:{tmp_path / "val.json"},{tmp_path / "val.json"},{tmp_path}')
    assert (data.classes, data.most) == (('cell', ), count)
    fit_to_data(config, data, default_limit(data))
    metric = CocoMetric(**{key: value for key, value in config.val_evaluator.items()
                           if key != 'type'})
    metric.dataset_meta = dict(classes=data.classes)
    xyxy = np.array(boxes, float)
    xyxy[:, 2:] += xyxy[:, :2]
    metric.results.append((dict(width=200, height=200, img_id=1), dict(
        img_id=1, bboxes=xyxy, scores=np.linspace(0.9, 0.5, count),
        labels=np.zeros(count, int))))
    metrics = {f'coco/{name.rpartition("/")[2]}': value
               for name, value in metric.evaluate(1).items()}
    figures = figures_of(metrics, data.classes)
    assert figures['AP'] == figures['AP50'] == 1
    assert metrics['coco/bbox_mAP'] < 0.8  # what pycocotools makes of the best 100


def test_figures_of_runs():
    assert figures_of({}, ('a', 'b'))['AP'] == 0
    metrics = {'coco/a_precision': 0.5, 'coco/b_precision': float('nan'),
               'coco/bbox_mAP_50': 0.75, 'coco/bbox_mAP_75': 0.25, 'coco/bbox_mAP_s': -1.0,
               'coco/bbox_mAP_m': 0.5, 'coco/bbox_mAP_l': 0.125}
    assert figures_of(metrics, ('a', 'b')) == dict(
        AP=0.5, AP50=0.75, AP75=0.25, APs=None, APm=0.5, APl=0.125, classes=dict(a=0.5, b=None))


def test_mean_and_spread():
    rng = random.Random(0)
    runs = [dict(config=name, seed=seed, steps=10, images=80, train_seconds=rng.uniform(60, 90),
                 step_seconds=rng.uniform(1, 2), APs=None,
                 **{key: rng.random() for key in ('AP', 'AP50', 'AP75', 'APm', 'APl')})
            for name in 'ab' for seed in range(3)]
    rows = summarize([*runs, dict(config='a', error='it failed')], ['a', 'b'])
    mine = [run for run in runs if run['config'] == 'b']
    steps = {name: statistics.mean(run['step_seconds'] for run in runs if run['config'] == name)
             for name in 'ab'}
    assert rows[1]['relative_step'] == pytest.approx(steps['b'] / steps['a'])
    values = [run['AP50'] for run in mine]
    assert rows[1]['AP50']['mean'] == pytest.approx(sum(values) / 3)
    assert rows[1]['AP50']['std'] == pytest.approx(np.std(values, ddof=1))
    assert rows[1]['AP50']['min'] == min(values) and rows[1]['APs'] is None
    assert f'{sum(values) / 3:.3f} ± {np.std(values, ddof=1):.3f}' in markdown(rows)


def test_peers_build_and_name_scopes():
    from helpers.configs import wrong_types
    for path in sorted(PEERS.glob('[a-z]*.py')):
        config = Config.fromfile(path)
        assert list(wrong_types(config.to_dict())) == [], path
        assert config.model.bbox_head.num_classes == 80 and Path(path).stem.endswith('_lite0')
