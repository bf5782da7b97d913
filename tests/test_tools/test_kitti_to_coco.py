"""tools/dataset_converters/kitti_to_coco.py against the original's format, written out slowly."""
import json
import re

import numpy as np
import pytest
import tiny_project
from pycocotools.coco import COCO

TOOL = 'dataset_converters/kitti_to_coco.py'
TYPES = ['Pedestrian', 'Car', 'Cyclist', 'Van', 'Truck', 'Person_sitting', 'Tram', 'Misc']
REGION = 'DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10'


def write_kitti(root, names, side='training', seed=0):
    """KITTI's folders with random labels of every type, and a split file of them all."""
    rng = np.random.default_rng(seed)
    for folder in ('label_2', 'calib'):
        (root / side / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        cameras = [np.array([[rng.uniform(600, 800), 0, 610, 44.857], [0, 721.5, 172.85, .2163],
                             [0, 0, 1, .0027459]]) for _ in range(4)]
        (root / side / f'calib/{name}.txt').write_text(''.join(
            f'P{index}: {" ".join(f"{value:.12e}" for value in camera.ravel())}\n'
            for index, camera in enumerate(cameras)) + 'R0_rect: 1 0 0 0 1 0 0 0 1\n\n')
        lines = [REGION] * int(rng.integers(2))
        for kind in rng.permutation(TYPES * 2)[:rng.integers(0, 9)]:
            x, y, w, h = rng.uniform(1, 300, 4)
            numbers = [x, y, x + w, y + h, *rng.uniform(.5, 4, 3), *rng.uniform(-9, 9, 2),
                       rng.uniform(1, 80), rng.uniform(-3.14, 3.14)]
            lines.append(f'{kind} {rng.choice([0, .45, 1]):.2f} {rng.integers(4)} '
                         f'{rng.uniform(-3.14, 3.14):.2f} '
                         + ' '.join(f'{number:.2f}' for number in numbers))
        (root / side / f'label_2/{name}.txt').write_text(''.join(f'{row}\n' for row in lines))
    (root / 'split.txt').write_text(''.join(f'{name}\n' for name in names))
    return root / 'split.txt'


def original(root, names, side='training'):
    """What the original's ``convert_kitti_to_coco.py`` writes, one field after the other."""
    kinds = [*TYPES, 'DontCare']
    images, annotations = [], []
    for name in names:
        third = (root / side / 'calib' / f'{name}.txt').read_text().split('\n')[2]
        numbers = [float(np.float32(text)) for text in third.split(' ')[1:]]
        images.append(dict(file_name=name + '.png', id=int(name),
                           calib=[numbers[0:4], numbers[4:8], numbers[8:12]]))
        if side == 'testing':
            continue
        for line in (root / side / 'label_2' / f'{name}.txt').read_text().split('\n')[:-1]:
            words = line.split(' ')
            values = [float(word) for word in words[1:]]
            annotations.append({
                'image_id': int(name), 'id': len(annotations) + 1,
                'category_id': kinds.index(words[0]) + 1, 'truncated': int(values[0]),
                'occluded': int(words[2]), 'alpha': values[2],
                'bbox': [values[3], values[4], values[5] - values[3], values[6] - values[4]],
                'dim': values[7:10], 'location': values[10:13], 'depth': values[12],
                'rotation_y': values[13]})
    return dict(images=images, annotations=annotations,
                categories=[dict(name=kind, id=kinds.index(kind) + 1) for kind in kinds])


@pytest.mark.parametrize('side', ['training', 'testing'])
def test_conversion_equals_the_original(tool, tmp_path, capsys, side):
    names = [f'{number:06d}' for number in (0, 7, 3, 7480, 12)]
    split = write_kitti(tmp_path, names, side)
    out = tmp_path / 'annotations/kitti_own_train.json'
    flags = ['--testing'] if side == 'testing' else []
    assert tool(TOOL, split, out, '--data-root', tmp_path, *flags) == 0
    content = json.loads(out.read_text())
    assert content == original(tmp_path, names, side)
    count = len(content['annotations'])
    assert (count > 15) == (side == 'training')
    assert f'kitti_own_train.json: 5 images, {count} annotations' in capsys.readouterr().out
    # No numpy or text where a number should be, and nothing left beside it.
    assert all(type(item['occluded']) is type(item['truncated']) is int
               for item in content['annotations'])
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    coco = COCO(str(out))
    assert coco.getImgIds() == [0, 7, 3, 7480, 12]


def test_nothing_is_overwritten_unasked(tool, tmp_path, capsys):
    split, out = write_kitti(tmp_path, ['000001']), tmp_path / 'out.json'
    out.write_text('mine')
    arguments = [TOOL, split, out, '--data-root', tmp_path]
    assert tool(*arguments) == 1
    assert 'out.json exists: choose another name, or replace it with --overwrite' in (
        capsys.readouterr().err)
    assert out.read_text() == 'mine'
    assert tool(*arguments, '--overwrite') == 0
    assert len(json.loads(out.read_text())['images']) == 1


def test_long_work_shows_how_far_it_is(tmp_path, monkeypatch, capsys):
    module = tiny_project.load_tool(TOOL)
    monkeypatch.setattr(module, 'PROGRESS_EVERY', 2)
    names = list(map(str, range(5)))
    module.convert(write_kitti(tmp_path, names), tmp_path)
    assert capsys.readouterr().out.split('\n')[:-1] == [
        '  2 of 5 images', '  4 of 5 images']


@pytest.mark.parametrize('change, words', [
    (dict(path='split.txt', text='night_1\n'), "names 'night_1', but ids of images are numbers"),
    (dict(path='split.txt', text='1\n01\n'), "names '1' and '01', which are the same number"),
    (dict(path='split.txt', text=''), 'lists no image at all'),
    (dict(path='split.txt', text='1\n9\n'), 'calib/9.txt does not exist'),
    (dict(path='training/label_2/1.txt', text=REGION + '\n' + REGION.replace('DontCare', 'Bus')),
     r'line 2 of .*label_2/1.txt \(Bus\) has height'),
    (dict(path='training/label_2/1.txt', text=REGION + '\nBus 0 0 0 1 1 9 9 1 1 1 1 1 1 1'),
     "line 2 of .*label_2/1.txt has the type 'Bus', which is none of KITTI's"),
    (dict(path='training/calib/1.txt', text='P2: 1'), 'line 1 of .*calib/1.txt'),
    (dict(out='out.txt'), 'out.txt is to be a JSON file'),
    (dict(out='split.txt/out.json'), 'cannot write .*out.json'),
    (dict(root='nowhere'), 'folder nowhere/training does not exist: .*--data-root'),
])
def test_broken_files_and_options_are_named(tool, tmp_path, capsys, change, words):
    split = write_kitti(tmp_path, ['1'])
    (tmp_path / 'training/calib/01.txt').write_text(
        (tmp_path / 'training/calib/1.txt').read_text())
    if 'path' in change:
        (tmp_path / change['path']).write_text(change['text'])
    out = tmp_path / change.get('out', 'out.json')
    assert tool(TOOL, split, out, '--data-root', change.get('root', tmp_path)) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert re.search(words, error), error
    assert not out.exists()
