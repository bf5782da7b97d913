"""tools/analysis_tools/eval_kitti.py, called as its command line calls it."""
import json
import re

import numpy as np
import pytest
from helpers.kitti import random_scenes
from reference.kitti import evaluate_slowly

from mmdet_centernet.evaluation.kitti_eval import evaluate, format_tables
from mmdet_centernet.io.kitti import read_objects, write_objects

TOOL = 'analysis_tools/eval_kitti.py'
CLASSES = ('Pedestrian', 'Car', 'Cyclist')
IMAGES = 40


def last_error(capsys):
    """Return the error message that the tool printed."""
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    return error


@pytest.fixture
def data(tmp_path):
    """Folders ``results`` and ``label_2`` of forty images, and their names in ``val.txt``."""
    names = [f'{7 * index:06d}' for index in range(IMAGES)]
    for kind, files in zip(('label_2', 'results'), random_scenes(21, IMAGES)):
        (tmp_path / kind).mkdir()
        for name, objects in zip(names, files):
            write_objects(tmp_path / kind / f'{name}.txt', objects)
    (tmp_path / 'val.txt').write_text('\n'.join(names) + '\n')
    return tmp_path


def read(data, names=None):
    """Return the labels and results in the files of some images, by default of all."""
    names = (data / 'val.txt').read_text().split() if names is None else names
    return ([read_objects(data / 'label_2' / f'{name}.txt') for name in names],
            [read_objects(data / 'results' / f'{name}.txt', scored=True) for name in names])


def test_figures_equal_reference(tool, data, capsys):
    assert tool(TOOL, data / 'results', data / 'label_2', '--json', data / 'out.json') == 0
    written = json.loads((data / 'out.json').read_text())
    labels, results = read(data)
    figures = {name: np.nan if value is None else value
               for name, value in written['figures'].items()}
    assert figures == pytest.approx(
        evaluate_slowly(labels, results), abs=1e-6, nan_ok=True)
    found = evaluate(labels, results, CLASSES)
    assert written['objects']['Car_hard'] == found.counts['Car', 'hard'] > 0
    assert written['iou']['official']['Car'] == [.7, .5, .5]
    assert written['notes'] == found.notes
    captured = capsys.readouterr()
    count = sum(len(each.types) for each in results)
    assert captured.out == f'{IMAGES} images with {count} detections\n\n' + format_tables(
        found, CLASSES, ('official', 'strict'), (11, 40)) + '\n'


@pytest.mark.parametrize('arguments, titles', [
    (('--iou', 'official'), ['AP11, IoU set official', 'AP40, IoU set official']),
    (('--points', '40'), ['AP40, IoU set official', 'AP40, IoU set strict']),
    (('--points', '11', '--iou', 'strict'), ['AP11, IoU set strict'])])
def test_points_and_overlaps_can_be_chosen(tool, data, capsys, arguments, titles):
    assert tool(TOOL, data / 'results', data / 'label_2', *arguments) == 0
    assert re.findall(r'(?m)^AP.*', capsys.readouterr().out) == titles


def test_a_split(tool, data, capsys):
    names = (data / 'val.txt').read_text().split()
    (data / 'part.txt').write_text('\n'.join(names[5:25]))
    # Neither labels nor results of other images are looked at.
    (data / 'label_2' / f'{names[0]}.txt').write_text('no label\n')
    (data / 'results' / 'log.txt').write_text('no result\n')
    assert tool(TOOL, data / 'results', data / 'label_2', '--split', data / 'part.txt', '--json',
                data / 'out.json') == 0
    text = capsys.readouterr().out
    assert text.startswith('20 images with ')
    assert f'21 result files are of images that {data}/part.txt does not list' in text
    expected = evaluate(*read(data, names[5:25]), CLASSES).figures
    written = json.loads((data / 'out.json').read_text())['figures']
    assert {name: np.nan if value is None else value for name, value in written.items()} == (
        pytest.approx(expected, nan_ok=True))


def test_images_without_result_files(tool, data, capsys):
    names = (data / 'val.txt').read_text().split()
    for name in names[:3]:
        (data / 'results' / f'{name}.txt').unlink()
    assert tool(TOOL, data / 'results', data / 'label_2') == 1
    assert re.search(r'3 of the 40 images have no result file in .*results, such as 000000\.txt: '
                     '.*--missing-empty; --split names', last_error(capsys))
    assert tool(TOOL, data / 'results', data / 'label_2', '--missing-empty') == 0
    missing = capsys.readouterr().out
    assert ' detections, 3 without a result file' in missing
    for name in names[:3]:
        (data / 'results' / f'{name}.txt').touch()
    assert tool(TOOL, data / 'results', data / 'label_2') == 0
    assert capsys.readouterr().out.splitlines()[1:] == missing.splitlines()[1:]


def test_other_classes(tool, data, capsys):
    for kind in ('results', 'label_2'):
        for file in (data / kind).iterdir():
            file.write_text(file.read_text().replace('Cyclist', 'Bicycle'))
    assert tool(TOOL, data / 'results', data / 'label_2') == 1
    assert re.search(r"line \d+ of .*results/\d+\.txt is of class 'Bicycle', but evaluated are "
                     'Pedestrian, Car, Cyclist: .*--classes', last_error(capsys))
    arguments = [data / 'results', data / 'label_2', '--classes', 'Car', 'Bicycle', 'Pedestrian']
    assert tool(TOOL, *arguments) == 1
    assert '--class-iou Bicycle=0.7,0.5,0.5' in last_error(capsys)
    assert tool(TOOL, *arguments, '--class-iou', 'Bicycle=.5,.25,.2') == 0
    assert re.search(r'(?m)^Bicycle +hard +\d+  0\.50/0\.25/0\.20 ', capsys.readouterr().out)


def test_the_line_of_another_class_is_named(tool, data, capsys):
    file = data / 'results' / '000007.txt'
    line = 'Car -1 -1 0 10 10 90 90 1.5 1.6 3.9 0 1.6 20 0 0.5\n'
    file.write_text(line + line.replace('Car', 'Tram') + line)
    assert tool(TOOL, data / 'results', data / 'label_2') == 1
    assert f"line 2 of {file} is of class 'Tram'" in last_error(capsys)


@pytest.mark.parametrize('change, words', [
    (lambda data: (data / 'results' / '000001.txt').touch(),
     '/results/000001.txt has no label file in '),
    (lambda data: (data / 'results' / '000007.txt').write_text('Car 1 2\n'),
     'line 1 of {data}/results/000007.txt has 3 fields'),
    (lambda data: (data / 'results' / '000007.txt').write_text(
        'Car -1 -1 0 10 10 90 90 1.5 1.6 3.9 0 1.6 20 0\n'), 'the score at the end is missing'),
    (lambda data: (data / 'results' / '000007.txt').write_text(
        'Car -1 -1 0 10 10 90 nan 1.5 1.6 3.9 0 1.6 20 0 .5\n'),
     'line 1 of {data}/results/000007.txt has the bottom nan'),
    (lambda data: (data / 'label_2' / '000007.txt').write_text(
        'Car 0 0 0 10 10 90 90 1.5 0 3.9 0 1.6 20 0\n'),
     'line 1 of {data}/label_2/000007.txt (Car) has'),
    (lambda data: [file.unlink() for file in (data / 'results').iterdir()],
     'result folder {data}/results has no result files'),
    (lambda data: (data / 'label_2').rename(data / 'away'),
     'label folder {data}/label_2 does not exist'),
])
def test_bad_files_are_named(tool, data, capsys, change, words):
    change(data)
    assert tool(TOOL, data / 'results', data / 'label_2') == 1
    assert words.format(data=data) in last_error(capsys)


def test_bad_splits_and_options_are_named(tool, data, capsys):
    folders = data / 'results', data / 'label_2'
    (data / 'more.txt').write_text('000000\n000003\n')
    assert tool(TOOL, *folders, '--split', data / 'more.txt') == 1
    assert f"image '000003' of {data}/more.txt has no label file" in last_error(capsys)
    assert tool(TOOL, *folders, '--split', data / 'none.txt') == 1
    assert 'none.txt does not exist' in last_error(capsys)
    assert tool(TOOL, *folders, '--class-iou', 'Car=.5,.5') == 1
    assert "the least overlaps [0.5, 0.5] of class 'Car' must be three" in last_error(capsys)
    assert tool(TOOL, *folders, '--json', data / 'not' / 'there.json') == 1
    assert 'there.json: No such file or directory' in last_error(capsys)
    with pytest.raises(SystemExit):
        tool(TOOL, *folders, '--class-iou', 'Car')
    assert "'Car' is not NAME=2D,BEV,3D" in capsys.readouterr().err
