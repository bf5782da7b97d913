"""KittiMetric: figures of predictions, reading of label files, writing of result files."""
import copy
import json
import math
import os
import sys
import types

import numpy as np
import processes
import pytest
import torch
from helpers.kitti import objects, random_scenes
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from reference.kitti import evaluate_slowly
from rich.file_proxy import FileProxy

from mmdet_centernet.errors import UserError
from mmdet_centernet.evaluation import KittiMetric, kitti_metric
from mmdet_centernet.io.kitti import read_objects, write_objects

# Odd, so that one of two processes is padded.
IMAGES = 61
CLASSES = ('Pedestrian', 'Car', 'Cyclist')
META = dict(classes=CLASSES)


def name_of(index):
    return f'{3 * index:06d}'


def sample_of(index, result):
    """Return a data sample that predicts the objects of a result file."""
    return dict(img_id=name_of(index), pred_instances=dict(
        bboxes=torch.tensor(result.bboxes).float(),
        labels=torch.tensor([CLASSES.index(name) for name in result.types], dtype=torch.int64),
        scores=torch.tensor(result.scores).float(), alpha=torch.tensor(result.alpha).float(),
        bboxes_3d=torch.tensor(np.concatenate(
            (result.locations, result.dims, result.rotation_y[:, None]), axis=1)).float()))


def in_float32(result):
    return result._replace(**{
        field: getattr(result, field).astype(np.float32).astype(float) for field in (
            'alpha', 'bboxes', 'dims', 'locations', 'rotation_y', 'scores')})


def all_scenes():
    """Return labels, results and the samples that predict them."""
    labels, results = random_scenes(11, IMAGES)
    samples = [sample_of(index, result) for index, result in enumerate(results)]
    return labels, [in_float32(result) for result in results], samples


@pytest.fixture(scope='module')
def scenes():
    return all_scenes()


@pytest.fixture(scope='module')
def folder(scenes, tmp_path_factory):
    """Label files, more of them than are tested, and a split file."""
    folder = tmp_path_factory.mktemp('kitti')
    (folder / 'label_2').mkdir()
    for index, label in enumerate(scenes[0]):
        write_objects(folder / 'label_2' / f'{name_of(index)}.txt', label)
    (folder / 'label_2' / '999999.txt').write_text('not looked at\n')
    (folder / 'val.txt').write_text('\n'.join(map(name_of, range(IMAGES))))
    return folder


@pytest.fixture(scope='module')
def expected(scenes, folder):
    """Return the figures of the slow implementation."""
    labels = [read_objects(folder / 'label_2' / f'{name_of(i)}.txt') for i in range(IMAGES)]
    return {f'kitti/{name}': value
            for name, value in evaluate_slowly(labels, scenes[1]).items()}


def run(samples, meta=META, size=None, **options):
    metric = KittiMetric(**options)
    metric.dataset_meta = meta
    for start in range(0, len(samples), 3):
        metric.process(None, samples[start:start + 3])
    return metric.evaluate(len(samples) if size is None else size)


@pytest.mark.parametrize('split', [True, False])
def test_figures_equal_reference(split, scenes, folder, expected):
    figures = run(scenes[2], label_dir=str(folder / 'label_2'),
                  split_file=str(folder / 'val.txt') if split else None)
    assert figures == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert all(type(value) is float for value in figures.values())
    assert figures['kitti/Car_moderate_bev_AP40_official'] > .05


def test_figures_that_are_asked_for(scenes, folder, expected):
    figures = run(scenes[2], label_dir=str(folder / 'label_2'), iou_sets=['strict'],
                  recall_points=[40], prefix='mine', class_ious=dict(Car=(.7, .7, .7)))
    assert figures == pytest.approx({
        name.replace('kitti', 'mine'): value for name, value in expected.items()
        if name.endswith('_AP40_strict')}, abs=1e-6, nan_ok=True)
    assert len(figures) == 4 * 3 * 4


def test_result_files(scenes, folder, tmp_path):
    _, results, samples = scenes
    assert any(not len(result.types) for result in results)
    figures = run(samples, label_dir=str(folder / 'label_2'), result_dir=str(tmp_path / 'a/b'))
    alone = run(samples, result_dir=str(tmp_path / 'c'), format_only=True)
    assert figures and alone == {}
    for out in (tmp_path / 'a/b', tmp_path / 'c'):
        assert sorted(file.name for file in out.iterdir()) == [
            f'{name_of(index)}.txt' for index in range(IMAGES)]
        for index, result in enumerate(results):
            written = read_objects(out / f'{name_of(index)}.txt', scored=True)
            assert written.types == result.types
            for field in ('truncated', 'occluded'):
                assert (getattr(written, field) == -1).all()
            np.testing.assert_allclose(written.bboxes, result.bboxes, atol=.00501)
            for field in ('alpha', 'dims', 'locations', 'rotation_y', 'scores'):
                np.testing.assert_allclose(
                    getattr(written, field), getattr(result, field), atol=1e-3)
    line = next(line for line in (tmp_path / 'c' / '000000.txt').read_text().splitlines())
    assert len(line.split()) == 16 and line.split()[1:3] == ['-1', '-1']


def test_boxes_are_written_as_predicted_and_numbers_named_with_six_digits(tmp_path):
    beyond = objects([
        ['Car', -1, -1, .5, [-20.5, 100, 1300.25, 400], [1.5, 1.6, 4], [0, 1.6, 9], .5, .25]],
        True)
    samples = [dict(sample_of(0, beyond), img_id=7, ori_shape=(375, 1242))]
    run(samples, result_dir=str(tmp_path), format_only=True)
    written = read_objects(tmp_path / '000007.txt', scored=True)
    assert written.bboxes.tolist() == [[-20.5, 100, 1300.25, 400]]


def _one_of_two(folder):
    torch.distributed.init_process_group('gloo')
    rank, (_, _, samples) = int(os.environ['RANK']), all_scenes()
    metric = KittiMetric(
        f'{folder}/label_2', f'{folder}/val.txt', result_dir=f'{folder}/both',
        collect_dir=f'{folder}/parts')
    metric.dataset_meta = META
    # As the sampler deals: in turn, and from the start again to give both as many.
    metric.process(None, (samples + samples[:1])[rank::2])
    (folder / f'{rank}.json').write_text(json.dumps(metric.evaluate(len(samples))))
    torch.distributed.destroy_process_group()


def test_two_processes_give_what_one_gives(scenes, folder):
    alone = run(scenes[2], label_dir=str(folder / 'label_2'), result_dir=str(folder / 'alone'))
    processes.run_two(_one_of_two, folder)
    for rank in range(2):
        found = json.loads((folder / f'{rank}.json').read_text())
        assert found == pytest.approx(alone, abs=0, nan_ok=True)
    for file in (folder / 'alone').iterdir():
        assert (folder / 'both' / file.name).read_text() == file.read_text()


def test_an_image_that_comes_twice_counts_once(scenes, folder, expected):
    again = [copy.deepcopy(sample) for sample in scenes[2][:7]]
    for sample in again:
        sample['pred_instances']['scores'] += .1
    figures = run(scenes[2] + again, label_dir=str(folder / 'label_2'))
    assert figures == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_tables_and_what_is_not_measured_are_logged(scenes, folder, tmp_path):
    log = tmp_path / 'log.txt'
    MMLogger.get_instance('kitti_metric', log_file=str(log))
    samples = [sample for sample in scenes[2] if sample['img_id'] == name_of(0)]
    write_objects(tmp_path / f'{name_of(0)}.txt', objects([]))
    figures = run(samples, label_dir=str(tmp_path))
    text = log.read_text()
    assert f'KITTI: 1 images of {tmp_path}\nAP11, IoU set official\n' in text
    assert 'Not measured, and left out of means, because there are no such objects in ' \
        'the labels of 1' in text
    assert len(figures) == 192 and all(math.isnan(value) for value in figures.values())


def test_progress_does_not_disturb_a_line_that_is_shown(scenes, folder, monkeypatch):
    calls = []
    monkeypatch.setattr(kitti_metric, 'track', lambda steps, *args, **kwargs: (
        calls.append(len(steps)), steps)[1])
    run(scenes[2], label_dir=str(folder / 'label_2'))
    assert calls == [12]
    console = types.SimpleNamespace(print=lambda text: None)
    monkeypatch.setattr(sys, 'stderr', FileProxy(console, sys.stderr))
    run(scenes[2], label_dir=str(folder / 'label_2'))
    assert calls == [12]


def test_a_config_names_it(scenes, folder, expected):
    config = Config.fromstring(
        "default_scope = 'mmdet'\n"
        "val_evaluator = dict(type='mmdet_centernet.KittiMetric', "
        f"label_dir={str(folder / 'label_2')!r}, split_file={str(folder / 'val.txt')!r})", '.py')
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = META
    evaluator.process(scenes[2])
    assert evaluator.evaluate(IMAGES) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_other_classes(scenes, folder):
    meta = dict(classes=('Pedestrian', 'Tram', 'Cyclist'))
    with pytest.raises(UserError, match="class 'Tram' has no least overlap .* class_ious="):
        KittiMetric(str(folder / 'label_2')).dataset_meta = meta
    figures = run(scenes[2], meta, label_dir=str(folder / 'label_2'),
                  class_ious=dict(Tram=(.1, .1, .1)), iou_sets=['strict'])
    assert figures['kitti/Tram_hard_2d_AP11_strict'] >= 0
    # Results in a format that nothing is evaluated by may name any class.
    KittiMetric(format_only=True, result_dir='x').dataset_meta = meta


@pytest.mark.parametrize('options, reason', [
    (dict(), 'label_dir = None is not a folder: name .* format_only=True'),
    (dict(label_dir='/not/there'), "label_dir = '/not/there' is not a folder"),
    (dict(format_only=True), 'set result_dir to the folder'),
    (dict(label_dir='.', recall_points=(10, )), r'recall_points = \(10,\) must be 11, 40 or both'),
    (dict(label_dir='.', split_file='/not/there.txt'), 'split file /not/there.txt does not exist'),
    (dict(label_dir='.', iou_sets=('loose', )), r"IoU sets \['loose'\] must be some of"),
])
def test_bad_options_are_refused(options, reason):
    with pytest.raises(UserError, match=reason):
        KittiMetric(**options).dataset_meta = META


def test_bad_labels_are_refused(scenes, folder, tmp_path):
    samples = scenes[2]
    (tmp_path / 'split.txt').write_text(f'{name_of(0)}\n000001\n')
    with pytest.raises(UserError, match="image '000001' has no label file .*label_2/000001.txt"):
        KittiMetric(str(folder / 'label_2'), str(tmp_path / 'split.txt')).dataset_meta = META
    (tmp_path / 'split.txt').write_text('999999\n')
    # Before any training.
    with pytest.raises(UserError, match='line 1 of .*999999.txt has 3 fields'):
        KittiMetric(str(folder / 'label_2'), str(tmp_path / 'split.txt')).dataset_meta = META
    with pytest.raises(UserError, match=f'image {name_of(0)!r} has no label file'):
        run(samples, label_dir=str(tmp_path))
    (tmp_path / 'split.txt').write_text(f'{name_of(0)}\n')
    options = dict(label_dir=str(folder / 'label_2'), split_file=str(tmp_path / 'split.txt'))
    with pytest.raises(UserError, match="image '000003' was tested, but .*split.txt .* does not"):
        run(samples, **options)
    options['split_file'] = str(folder / 'val.txt')
    with pytest.raises(UserError, match="60 of the 61 images in .*val.txt .* such as '000003'"):
        run(samples[:1], **options)
    with pytest.raises(UserError, match='cannot be created'):
        run(samples, format_only=True, result_dir=str(tmp_path / 'split.txt' / 'x'))


def test_bad_predictions_are_refused(scenes, folder):
    sample = next(s for s in scenes[2] if len(s['pred_instances']['scores']))
    predicted = sample['pred_instances']

    def fails(reason, **change):
        pred = {k: v for k, v in dict(predicted, **change).items() if v is not None}
        with pytest.raises(UserError, match=reason):
            run([dict(sample, pred_instances=pred)], label_dir=str(folder / 'label_2'))

    fails('the model predicts no bboxes_3d and no alpha, .* head for 3D boxes',
          bboxes_3d=None, alpha=None)
    for field in ('bboxes', 'scores', 'bboxes_3d', 'alpha'):
        fails(f"not finite numbers for image '{sample['img_id']}': its training diverged",
              **{field: predicted[field] * math.nan})
