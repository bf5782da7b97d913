"""Distillation by tools/train.py: checkpoints, resuming, no labels, errors."""
import json
import re

import pytest
import torch
from helpers.configs import CONFIGS
from mmengine.registry import MODELS, DefaultScope
from tiny_project import CLASSES, write_config

from mmdet_centernet.checkpoints.load import load_weights
from mmdet_centernet.engine.config import load_config

EMA = """
custom_hooks = [dict(type='mmengine.EMAHook', ema_type='ExpMomentumEMA', momentum=0.05,
                     update_buffers=True)]
"""
WITHOUT_LABELS = """
model.update(with_labels=False)
train_pipeline[1:2] = []
train_dataloader['dataset'].update(
    ann_file={!r}, data_root='', data_prefix=dict(img={!r}), pipeline=train_pipeline)
"""


def write_student(folder, data, teachers, name='student.py', extra='', **options):
    return write_config(folder, data, name, extra=(
        "model.update(type='mmdet_centernet.DistilledCenterNet', "
        f'teachers={teachers!r}){extra}\n'), **options)


@pytest.fixture(scope='module')
def teacher(trained):
    config, work_dir = trained
    return dict(config=str(config), checkpoint=str(work_dir / 'epoch_2.pth'))


def losses_of(work_dir):
    """Return the names of the losses in a training's log."""
    log, = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {name for line in lines for name in line if name.startswith('loss_')}


def state_of(path):
    return torch.load(path, weights_only=True)['state_dict']


@pytest.fixture(scope='module')
def distilled(tool, tiny_data, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp('distilled')
    config = write_student(folder, tiny_data, [teacher], extra=EMA)
    assert tool('train.py', config, '--work-dir', folder / 'work', '--seed', 3) == 0
    return config, folder / 'work'


def test_losses_of_labels_and_teachers_are_logged(distilled):
    assert losses_of(distilled[1]) == {
        'loss_center_heatmap', 'loss_wh', 'loss_offset', 'loss_teacher_heatmap',
        'loss_teacher_wh', 'loss_teacher_offset'}


def test_checkpoints_fit_the_plain_config(tool, distilled, trained, tmp_path):
    state = state_of(distilled[1] / 'epoch_2.pth')
    assert list(state) == list(state_of(trained[1] / 'epoch_2.pth'))
    assert tool('test.py', trained[0], distilled[1] / 'epoch_2.pth', '--work-dir', tmp_path) == 0
    with DefaultScope.overwrite_default_scope('mmdet'):
        plain = MODELS.build(load_config(trained[0]).model)
    load_weights(plain, distilled[1] / 'epoch_2.pth')
    assert torch.equal(plain.state_dict()['backbone.conv1.weight'], state['backbone.conv1.weight'])


def test_own_config_is_tested_without_teachers(tool, distilled, tmp_path):
    config = tmp_path / 'moved.py'
    config.write_text(distilled[0].read_text().replace('trained.py', 'gone.py'))
    assert tool('test.py', config, distilled[1] / 'epoch_2.pth', '--work-dir', tmp_path) == 0


def test_training_resumes(tool, distilled, tmp_path):
    config, work_dir = distilled
    assert tool('train.py', config, '--work-dir', tmp_path / 'work', '--seed', 3, '--resume',
                work_dir / 'epoch_1.pth') == 0
    whole, resumed = (state_of(each / 'epoch_2.pth') for each in (work_dir, tmp_path / 'work'))
    assert list(whole) == list(resumed)
    assert not torch.equal(resumed['backbone.conv1.weight'],
                           state_of(work_dir / 'epoch_1.pth')['backbone.conv1.weight'])


def test_images_without_annotations(tool, tiny_data, teacher, tmp_path):
    content = json.loads((tiny_data / 'train.json').read_text())
    (tmp_path / 'images.json').write_text(json.dumps(dict(content, annotations=[])))
    # A name of its own: MMEngine shares the log of runs of one name that begin in one second.
    config = write_student(
        tmp_path, tiny_data, [teacher], 'unlabeled.py', epochs=1, extra=WITHOUT_LABELS.format(
            str(tmp_path / 'images.json'), f'{tiny_data}/'))
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 0
    assert losses_of(tmp_path / 'work') == {
        'loss_teacher_heatmap', 'loss_teacher_wh', 'loss_teacher_offset'}


def test_teachers_of_one_class_each(tool, tiny_data, teacher, tmp_path):
    teachers = [dict(teacher, classes=[name]) for name in CLASSES]
    config = write_student(tmp_path, tiny_data, teachers, epochs=1)
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 0


@pytest.mark.parametrize(('change', 'words'), [
    (dict(checkpoint='nowhere.pth'),
     'model.teachers[0]: checkpoint nowhere.pth does not exist'),
    (dict(config='nowhere.py'), 'model.teachers[0]: config nowhere.py does not exist'),
    (dict(classes=['square', 'ring']), "is to teach the class 'ring', which the student does"),
    (None, "does not fit the config's model"),
], ids=['checkpoint', 'config', 'classes', 'other model'])
def test_teachers_that_do_not_fit_end_before_the_first_step(
        tool, tiny_data, teacher, tmp_path, capsys, change, words):
    if change is None:
        other = write_config(tmp_path, tiny_data, 'other.py', extra=(
            "model['bbox_head'].update(feat_channels=4)\n"))
        change = dict(config=str(other))
    config = write_student(tmp_path, tiny_data, [dict(teacher, **change)])
    assert tool('train.py', config, '--work-dir', tmp_path / 'work') == 1
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and words in errors[0]
    assert 'iteration' not in captured.out
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_configs_of_the_page(tmp_path):
    """They load and build; types, keys and files in them exist."""
    page = (CONFIGS.parent / 'docs/distillation.md').read_text()
    blocks = re.findall(r'```python\n(.*?)```', page, re.S)
    for block in blocks:
        name = re.match(r'# (\w+\.py)\n', block)
        base = '' if '_base_' in block else "_base_ = 'configs/centernet_lite0_tree_crowns.py'\n"
        path = tmp_path / (name[1] if name else 'other.py')
        path.write_text((base + block).replace("_base_ = 'configs", f"_base_ = '{CONFIGS}"))
        config = load_config(path)
        assert all((CONFIGS.parent / each.config).is_file() for each in config.model.teachers
                   if each.config.startswith('configs/'))
        config.model.backbone.init_cfg = None
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(config.model)
        assert model.with_labels == ('with_labels=False' not in block)
    dataset = load_config(tmp_path / 'unlabeled.py').train_dataloader.dataset.dataset
    assert dataset.ann_file == 'annotations/images.json'
    assert all('Annotations' not in each.type for each in dataset.pipeline)
