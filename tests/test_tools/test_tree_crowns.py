"""The tree crown converter on a small wheel made here."""
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.cases import case

TOOL = Path(__file__).parents[2] / 'tools/demo_data/tree_crowns.py'
sys.path.insert(0, str(TOOL.parent))
spec = importlib.util.spec_from_file_location('tree_crowns', TOOL)
tree_crowns = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tree_crowns)

SIZES = dict(train=[(300, 250)], val=[(90, 130)], test=[(40, 40), (50, 60)])


def voc_xml(height, width, boxes, name='Tree'):
    objects = ''.join(
        f'<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>'
        f'<ymax>{y2}</ymax></bndbox></object>' for x1, y1, x2, y2 in boxes)
    return (f'<annotation><filename>other.tif</filename><size><width>{width}</width>'
            f'<height>{height}</height></size>{objects}</annotation>')


def photo(split, index):
    height, width = SIZES[split][index]
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def trees(split, index):
    """1-based, last pixel included, as in the wheel; some at the photo's edges."""
    height, width = SIZES[split][index]
    rng = np.random.default_rng(width)
    low = rng.integers(1, [width - 12, height - 12], (15, 2))
    boxes = np.hstack([low, low + rng.integers(4, 12, (15, 2))])
    return [[1, 1, 9, 7], [width - 5, height - 8, width, height], *boxes.tolist()]


@pytest.fixture
def make_wheel(tmp_path):
    def make_wheel(leave_out=None, replace=None):
        path = tmp_path / 'deepforest-2.1.0-py3-none-any.whl'
        with zipfile.ZipFile(path, 'w') as wheel:
            files = {tree_crowns.LICENSE_FILE: b'MIT License'}
            for split, photos in tree_crowns.PHOTOS.items():
                for index, name in enumerate(photos):
                    files[f'deepforest/data/{name}.png'] = cv2.imencode(
                        '.png', photo(split, index))[1].tobytes()
                    files[f'deepforest/data/{name}.xml'] = voc_xml(
                        *SIZES[split][index], trees(split, index),
                        'Dead' if name == 'SOAP_061' else 'Tree').encode()
            files.update(replace or {})
            for name, data in files.items():
                if name != leave_out:
                    wheel.writestr(name, data)
        return path
    return make_wheel


OPTIONS = dict(tile=96, overlap=20)


def read(out, split):
    return json.loads((out / f'annotations/{split}.json').read_text())


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None
            for path in folder.rglob('*')}


def test_files_and_format(make_wheel, tmp_path):
    out = tmp_path / 'data/trees'
    assert tree_crowns.make_dataset(out, make_wheel(), **OPTIONS)
    assert sorted(path.name for path in out.parent.iterdir()) == ['trees']
    assert sorted(path.name for path in out.iterdir()) == [
        'LICENSE', 'README.md', 'annotations', 'made_by.json', 'test', 'train', 'val']
    assert 'MIT' in (out / 'LICENSE').read_text()
    for words in ('deepforest==2.1.0', 'NEON', 'MIT'):
        assert words in (out / 'README.md').read_text()
    for split, count in dict(train=16, val=6, test=2).items():
        content = read(out, split)
        assert [(item['id'], item['name']) for item in content['categories']] == [(1, 'tree')]
        assert content['licenses'][0]['name'] == 'MIT License'
        assert len(content['images']) == count
        for key in ('images', 'annotations'):
            ids = [item['id'] for item in content[key]]
            assert len(set(ids)) == len(ids) and min(ids) == 1
        sides = {image['id']: (image['width'], image['height']) for image in content['images']}
        assert {annotation['image_id'] for annotation in content['annotations']} <= set(sides)
        for annotation in content['annotations']:
            x, y, width, height = annotation['bbox']
            assert x >= 0 and y >= 0 and width > 0 and height > 0
            assert x + width <= sides[annotation['image_id']][0]
            assert y + height <= sides[annotation['image_id']][1]
            assert annotation['area'] == width * height
            assert annotation['category_id'] == 1 and annotation['iscrowd'] in (0, 1)
        files = {path.name for path in (out / split).iterdir()}
        assert files == {image['file_name'] for image in content['images']}


def test_pixels_and_boxes_are_those_of_the_photo(make_wheel, tmp_path):
    """Each tile is a piece of the photo, and a slow search finds the same boxes in it."""
    out = tmp_path / 'trees'
    tree_crowns.make_dataset(out, make_wheel(), min_visible=0.5, **OPTIONS)
    for split, photos in tree_crowns.PHOTOS.items():
        content = read(out, split)
        for image in content['images']:
            index = photos.index(image['photo'])
            x0, y0 = image['photo_x'], image['photo_y']
            width, height = image['width'], image['height']
            np.testing.assert_array_equal(
                cv2.imread(str(out / split / image['file_name'])),
                photo(split, index)[y0:y0 + height, x0:x0 + width])
            expected = set()
            for x1, y1, x2, y2 in trees(split, index):
                pixels = [(x, y) for x in range(x1 - 1, x2) for y in range(y1 - 1, y2)]
                inside = [(x - x0, y - y0) for x, y in pixels
                          if x0 <= x < x0 + width and y0 <= y < y0 + height]
                if inside:
                    (left, top), (right, bottom) = min(inside), max(inside)
                    expected.add((left, top, right + 1 - left, bottom + 1 - top,
                                  int(len(inside) < 0.5 * len(pixels))))
            found = {(*annotation['bbox'], annotation['iscrowd'])
                     for annotation in content['annotations']
                     if annotation['image_id'] == image['id']}
            assert found == expected


def test_training_tiles_hold_every_tree_whole(make_wheel, tmp_path):
    out = tmp_path / 'trees'
    tree_crowns.make_dataset(out, make_wheel(), **OPTIONS)
    content = read(out, 'train')
    places = {image['id']: (image['photo_x'], image['photo_y']) for image in content['images']}
    whole = set()
    for annotation in content['annotations']:
        x0, y0 = places[annotation['image_id']]
        x, y, width, height = annotation['bbox']
        whole.add((x + x0 + 1, y + y0 + 1, x + x0 + width, y + y0 + height))
    assert whole >= set(map(tuple, trees('train', 0)))
    assert {image['width'] for image in content['images']} == {96}


def test_validation_tiles_do_not_overlap(make_wheel, tmp_path):
    out = tmp_path / 'trees'
    tree_crowns.make_dataset(out, make_wheel(), **OPTIONS)
    seen = np.zeros(SIZES['val'][0], int)
    for image in read(out, 'val')['images']:
        seen[image['photo_y']:image['photo_y'] + image['height'],
             image['photo_x']:image['photo_x'] + image['width']] += 1
    assert (seen == 1).all()


def test_tile_spans():
    for length, size, overlap, expected in [
        (100, 100, 10, [(0, 100)]), (60, 100, 10, [(0, 60)]),
        (101, 100, 10, [(0, 100), (1, 101)]), (190, 100, 10, [(0, 100), (90, 190)]),
        (191, 100, 10, [(0, 100), (46, 146), (91, 191)]),
    ]:
        with case(length, size, overlap, expected):
            spans = tree_crowns.tile_spans(length, size, overlap)
            assert [tuple(span) for span in spans] == expected


def test_tile_spans_overlap_enough():
    for length in range(50, 400, 7):
        spans = tree_crowns.tile_spans(length, 50, 13)
        assert spans[0][0] == 0 and spans[-1][1] == length
        for (_, stop), (start, _) in zip(spans, spans[1:]):
            assert stop - start >= 13


def test_second_run_does_nothing(make_wheel, tmp_path, capsys):
    out, wheel = tmp_path / 'trees', make_wheel()
    tree_crowns.make_dataset(out, wheel, **OPTIONS)
    before = tree(out)
    wheel.unlink()
    capsys.readouterr()
    assert not tree_crowns.make_dataset(out, **OPTIONS)
    assert 'is there already' in capsys.readouterr().out
    assert tree(out) == before


def test_incomplete_or_other_data_is_made_anew(make_wheel, tmp_path):
    out, wheel = tmp_path / 'trees', make_wheel()
    tree_crowns.make_dataset(out, wheel, **OPTIONS)
    whole = tree(out)
    next((out / 'val').iterdir()).unlink()
    assert tree_crowns.make_dataset(out, wheel, **OPTIONS)
    assert tree(out) == whole
    assert tree_crowns.make_dataset(out, wheel, tile=120, overlap=20)
    assert tree(out) != whole
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith('.')] == []


def test_foreign_folder_is_left_alone(make_wheel, tmp_path):
    out = tmp_path / 'trees'
    out.mkdir()
    (out / 'mine.txt').write_text('x')
    with pytest.raises(tree_crowns.UserError, match='was not made by this tool'):
        tree_crowns.make_dataset(out, make_wheel(), **OPTIONS)
    assert (out / 'mine.txt').read_text() == 'x'
    (out / 'mine.txt').unlink()
    assert tree_crowns.make_dataset(out, make_wheel(), **OPTIONS)


XML = 'deepforest/data/OSBS_029.xml'
PNG = 'deepforest/data/SOAP_061.png'


@pytest.mark.parametrize('wheel, words', [
    (dict(leave_out=PNG), f'holds no {PNG}'),
    (dict(leave_out=tree_crowns.LICENSE_FILE), 'holds no deepforest-2.1.0.dist-info'),
    (dict(replace={PNG: b''}), f'{PNG} in .* is not a readable image'),
    (dict(replace={PNG: b'rubbish'}), f'{PNG} in .* is not a readable image'),
    (dict(replace={XML: '<annotation>'}), f'{XML} in .* is not a readable annotation'),
    (dict(replace={XML: '<annotation/>'}), f'{XML} in .* is not a readable annotation'),
    (dict(replace={XML: voc_xml(40, 40, [('x', 1, 2, 3)])}), f'{XML} in .* is not a readable'),
    (dict(replace={XML: voc_xml(40, 41, [])}), r'OSBS_029.png has \[40, 40\]'),
])
def test_wrong_wheel_leaves_nothing(make_wheel, tmp_path, wheel, words):
    path = make_wheel(**wheel)
    before = set(tmp_path.rglob('*'))
    with pytest.raises(tree_crowns.UserError, match=words) as error:
        tree_crowns.make_dataset(tmp_path / 'trees', path, **OPTIONS)
    assert '\n' not in str(error.value)
    assert set(tmp_path.rglob('*')) == before


def test_failure_keeps_the_old_data(make_wheel, tmp_path):
    out = tmp_path / 'trees'
    tree_crowns.make_dataset(out, make_wheel(), **OPTIONS)
    before = tree(out)
    with pytest.raises(tree_crowns.UserError):
        tree_crowns.make_dataset(out, make_wheel(leave_out=PNG), tile=120)
    assert tree(out) == before


@pytest.mark.parametrize('keep', [0, 30, 0.5, -1])
def test_broken_download(make_wheel, tmp_path, keep):
    path = make_wheel()
    data = path.read_bytes()
    path.write_bytes(data[:int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(tree_crowns.UserError, match='not a readable wheel.*download'):
        tree_crowns.make_dataset(tmp_path / 'trees', path)
    assert not (tmp_path / 'trees').exists()


def test_flipped_bit(make_wheel, tmp_path):
    path = make_wheel()
    data = bytearray(path.read_bytes())
    data[data.index(b'IDAT') + 1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(tree_crowns.UserError, match='is damaged .*download'):
        tree_crowns.make_dataset(tmp_path / 'trees', path)


@pytest.mark.parametrize('options, words', [
    (dict(tile=10, overlap=10), '--overlap'), (dict(overlap=-1), '--overlap'),
    (dict(min_visible=0), '--min-visible'), (dict(min_visible=1.1), '--min-visible'),
    (dict(val_grid=(0, 2)), '--val-grid'), (dict(wheel='no.whl'), '--wheel no.whl')])
def test_bad_options_are_refused(tmp_path, options, words):
    with pytest.raises(tree_crowns.UserError, match=words):
        tree_crowns.make_dataset(tmp_path / 'trees', **options)
    assert not any(tmp_path.iterdir())


def test_no_pip(tmp_path, monkeypatch):
    monkeypatch.setattr(tree_crowns.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(tree_crowns.UserError, match='has no pip.*--wheel FILE'):
        tree_crowns.make_dataset(tmp_path / 'trees')
    assert not any(tmp_path.iterdir())


def test_command_line_without_index(tmp_path):
    """One line on stderr, no traceback, nothing left behind."""
    done = subprocess.run(
        [sys.executable, str(TOOL), '--out', str(tmp_path / 'trees')], text=True,
        capture_output=True, env=dict(os.environ, PIP_NO_INDEX='1', PIP_FIND_LINKS=''))
    assert done.returncode == 1
    assert done.stderr.count('\n') == 1
    assert done.stderr.startswith('error: pip could not download deepforest==2.1.0 (')
    assert '--wheel FILE' in done.stderr
    assert not any(tmp_path.iterdir())


def test_download_with_pip(make_wheel, tmp_path, monkeypatch, capsys):
    """pip takes the wheel from a folder here, as it would from an index."""
    wheel = make_wheel()
    with zipfile.ZipFile(wheel, 'a') as archive:
        archive.writestr('deepforest-2.1.0.dist-info/METADATA',
                         'Metadata-Version: 2.1\nName: deepforest\nVersion: 2.1.0\n')
        archive.writestr('deepforest-2.1.0.dist-info/WHEEL',
                         'Wheel-Version: 1.0\nTag: py3-none-any\n')
    for name, value in dict(PIP_NO_INDEX='1', PIP_FIND_LINKS=str(wheel.parent)).items():
        monkeypatch.setenv(name, value)
    out = tmp_path / 'trees'
    assert tree_crowns.main(['--out', str(out)]) == 0
    assert 'trees' in capsys.readouterr().out
    assert len(read(out, 'val')['images']) == 6
