"""The figures' annotations against the geometry and the pixels that they are about."""
import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

TOOL = Path(__file__).parents[2] / 'tools/demo_data/figures.py'
sys.path.insert(0, str(TOOL.parent))
spec = importlib.util.spec_from_file_location('figures', TOOL)
figures = importlib.util.module_from_spec(spec)
sys.modules['figures'] = figures
spec.loader.exec_module(figures)

WIDTH, HEIGHT = 125, 95
OPTIONS = dict(size=(WIDTH, HEIGHT), min_area=400, seed=7)


def read(out, split='train'):
    return json.loads((out / f'annotations/{split}.json').read_text())


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*')
            if path.is_file()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp('figures') / 'data/figures'
    assert figures.make_dataset(out, train=45, val=2, **OPTIONS)
    return out


def scenes(count):
    """Scenes and their annotations with the index of what they are about."""
    for seed in range(count):
        scene = figures.make_scene(np.random.default_rng(seed), WIDTH, HEIGHT)
        image, owners = figures.render(scene)
        annotations = figures.annotate(scene, owners, OPTIONS['min_area'])
        candidates = [i for i, thing in enumerate(scene.things) if thing.kind != 'obstacle']
        if len(candidates) == len(annotations):
            yield scene, image, list(zip(candidates, annotations))


def covers(part, points, directions=90):
    """How far points [..., 2] are inside the hull of a part's discs, px; negative outside.

    A point is inside a convex set if in no direction it is farther out than the set reaches.
    """
    angles = np.arange(directions) * 2 * np.pi / directions
    normals = np.stack((np.cos(angles), np.sin(angles)))
    reach = (part.discs[:, :2] @ normals + part.discs[:, 2:]).max(0)
    return (reach - points @ normals).min(-1)


def test_files_and_format(dataset):
    assert [path.name for path in dataset.parent.iterdir()] == ['figures']
    assert {path.name for path in dataset.iterdir()} == {
        'README.md', 'annotations', 'made_by.json', 'train', 'val'}
    for split, count in dict(train=45, val=2).items():
        content = read(dataset, split)
        category, = content['categories']
        assert category['keypoints'] == list(figures.JOINTS)
        links = [tuple(category['keypoints'][i - 1] for i in link)
                 for link in category['skeleton']]
        assert links == list(figures.SKELETON)
        assert [image['id'] for image in content['images']] == list(range(1, count + 1))
        files = {path.name for path in (dataset / split).iterdir()}
        assert files == {image['file_name'] for image in content['images']}
        image = content['images'][-1]
        picture = cv2.imread(str(dataset / split / image['file_name']))
        assert picture.shape[1::-1] == (image['width'], image['height']) == (WIDTH, HEIGHT)
        assert [item['id'] for item in content['annotations']] == list(
            range(1, len(content['annotations']) + 1))
        for annotation in content['annotations']:
            x, y, width, height = annotation['bbox']
            assert min(x, y) >= 0 and x + width <= WIDTH and y + height <= HEIGHT
            assert 0 < annotation['area'] <= width * height
            keypoints = np.array(annotation['keypoints']).reshape(len(figures.JOINTS), 3)
            labeled = keypoints[:, 2] > 0
            assert set(keypoints[:, 2]) <= {0, 1, 2}
            assert annotation['num_keypoints'] == labeled.sum()
            assert (keypoints[~labeled] == 0).all()
            assert (keypoints[labeled, :2] >= 0).all()
            assert (keypoints[labeled, :2] <= (WIDTH - 1, HEIGHT - 1)).all()
    assert 'figures.py' in (dataset / 'README.md').read_text()


def test_every_legal_case_comes_up(dataset):
    content = read(dataset)
    annotations = content['annotations']
    flags = [set(item['keypoints'][2::3]) for item in annotations if item['num_keypoints']]
    assert set.union(*flags) == {0, 1, 2} and {2} in flags
    kinds = {(item['iscrowd'], item['num_keypoints'] > 0) for item in annotations}
    assert kinds == {(0, False), (0, True), (1, False)}
    counts = np.bincount([item['image_id'] for item in annotations], minlength=46)[1:]
    assert 0 in counts and 1 in counts and max(counts) >= 3
    assert any(all(not item['num_keypoints'] for item in annotations if item['image_id'] == i)
               for i in np.flatnonzero(counts) + 1)


def test_flags_areas_and_boxes_agree_with_the_geometry():
    """Who covers what, found without a canvas: the last part that reaches a point is on top."""
    fine, margin = 2, 0.5  # samples per pixel; what may be one or the other, px
    checked = {0: 0, 1: 0, 2: 0}
    for scene, _, found in scenes(24):
        # Where things are seen for certain, and where they may be.
        sure, maybe = np.zeros((2, len(scene.things), HEIGHT * fine, WIDTH * fine), bool)
        for index, thing in enumerate(scene.things):
            for part in thing.parts:
                centers, radii = part.discs[:, :2], part.discs[:, 2:]
                x1, y1 = (fine * np.floor((centers - radii).min(0))).astype(int).clip(0)
                x2, y2 = (fine * np.ceil((centers + radii).max(0) + 1)).astype(int).clip(0)
                window = np.s_[:, y1:y2, x1:x2]
                places = np.stack(np.indices(sure[window].shape[1:])[::-1], -1) + (x1, y1)
                depth = covers(part, (places + 0.5) / fine - 0.5)
                others = np.arange(len(scene.things))[:, None, None] != index
                sure[window] &= ~(others & (depth > -margin))
                maybe[window] &= ~(others & (depth > margin))
                sure[window][index] |= depth > margin
                maybe[window][index] |= depth > -margin
        for index, annotation in found:
            thing = scene.things[index]
            inner, outer = sure[index], maybe[index]
            assert inner.sum() <= annotation['area'] * fine ** 2 <= outer.sum()
            x, y, width, height = np.array(annotation['bbox']) * fine
            for mask, sign in ((outer, 1), (inner, -1)):
                if not mask.any():
                    continue
                rows, columns = np.nonzero(mask)
                assert sign * (x - columns.min()) >= -fine / 2
                assert sign * (y - rows.min()) >= -fine / 2
                assert sign * (columns.max() + 1 - x - width) >= -fine / 2
                assert sign * (rows.max() + 1 - y - height) >= -fine / 2
            if not annotation['num_keypoints']:
                continue
            keypoints = np.array(annotation['keypoints']).reshape(-1, 3)
            for place, (x, y, flag), group in zip(
                    thing.keypoints, keypoints, figures.JOINT_GROUPS.values(), strict=True):
                depths = [(i, part.group, covers(part, place))
                          for i, other in enumerate(scene.things) for part in other.parts]
                if min(abs(depth) for _, _, depth in depths) < 0.4:
                    continue  # on an edge
                if not (0 <= place[0] <= WIDTH - 1 and 0 <= place[1] <= HEIGHT - 1):
                    expected = 0
                else:
                    over = [(i, name) for i, name, depth in depths if depth > 0]
                    expected = 2 if over[-1] == (index, group) else 1
                    np.testing.assert_allclose((x, y), place, atol=0.006)
                assert flag == expected
                checked[expected] += 1
    assert min(checked.values()) >= 5


def test_annotations_agree_with_the_pixels():
    """What changes when a figure is taken out of the scene is what was seen of it."""
    checked = 0
    for scene, image, found in scenes(14):
        for index, annotation in found:
            rest = figures.Scene(
                scene.background, scene.things[:index] + scene.things[index + 1:], scene.light)
            changed = (figures.render(rest)[0] != image).any(-1)
            rows, columns = np.nonzero(changed)
            x, y, width, height = annotation['bbox']
            seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            np.testing.assert_allclose(seen, (x, y, x + width, y + height), atol=1.01)
            # Whole pixels, those on the edge included.
            assert annotation['area'] <= len(rows) <= 1.4 * annotation['area'] + 30
            for u, v, flag in np.array(annotation['keypoints']).reshape(-1, 3):
                assert flag < 2 or changed[round(v), round(u)]
            checked += 1
    assert checked >= 20


def test_left_and_right_are_the_figures_own():
    """The left leg hangs on the picture's right of who shows the face, and the reverse."""
    seen = set()
    for seed in range(80):
        thing = figures.make_figure(np.random.default_rng(seed), 80, (60, 50))
        keypoints = dict(zip(figures.JOINTS, thing.keypoints, strict=True))
        up = keypoints['neck'] - keypoints['hip']
        faces = sum(part.group == 'head' for part in thing.parts) > 1
        for limb in ('leg', 'arm'):
            left, right = (
                next(part for part in reversed(thing.parts)
                     if part.group == f'{side}_{limb}' and len(part.discs) == 2
                     and part.discs[0, 2] > part.discs[1, 2]
                     and part.discs[0, 2] >= max(other.discs[0, 2] for other in thing.parts
                                                 if other.group == f'{side}_{limb}')).discs[0, :2]
                for side in ('left', 'right'))
            across = left - right
            assert (up[0] * across[1] - up[1] * across[0] > 0) == faces
        for side in ('left', 'right'):
            for keypoint, limb in (('hand', 'arm'), ('foot', 'leg')):
                last = [part for part in thing.parts if part.group == f'{side}_{limb}'][-1]
                np.testing.assert_array_equal(last.discs[0, :2], keypoints[f'{side}_{keypoint}'])
        seen.add(faces)
    assert seen == {True, False}


def test_same_options_draw_the_same(dataset, tmp_path):
    again = tmp_path / 'again'
    figures.make_dataset(again, train=3, val=2, **OPTIONS)
    files = tree(again)
    for name in ('train/00002.jpg', 'val/00001.jpg'):
        assert files[Path(name)] == (dataset / name).read_bytes()
    assert read(again, 'val')['annotations'] == read(dataset, 'val')['annotations']
    first = [item for item in read(dataset)['annotations'] if item['image_id'] <= 3]
    assert read(again)['annotations'] == first
    assert not figures.make_dataset(again, train=3, val=2, **OPTIONS)
    assert tree(again) == files
    figures.make_dataset(again, train=3, val=2, **dict(OPTIONS, seed=5))
    assert tree(again)[Path('train/00002.jpg')] != files[Path('train/00002.jpg')]


def test_interrupted_run_changes_nothing(tmp_path, monkeypatch):
    out = tmp_path / 'out'
    figures.make_dataset(out, train=1, val=1, **OPTIONS)
    before = tree(tmp_path)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, 'write_readme', stop)
    with pytest.raises(KeyboardInterrupt):
        figures.make_dataset(out, train=2, val=1, **OPTIONS)
    assert tree(tmp_path) == before


@pytest.mark.parametrize('stamp', [None, '{"tool": "tree_crowns.py"}', 'no JSON', '[]'])
def test_folder_of_others_is_left_alone(tmp_path, capsys, stamp):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'mine.txt').write_text('x')
    if stamp:
        (out / 'made_by.json').write_text(stamp)
    before = tree(tmp_path)
    assert figures.main(['--out', str(out), '--train', '1', '--val', '1']) == 1
    message = capsys.readouterr().err
    assert 'was not made by this tool' in message and message.count('\n') == 1
    assert tree(tmp_path) == before


@pytest.mark.parametrize('arguments', [
    ('--train', '0'), ('--val', '-1'), ('--size', '31', '100'), ('--size', '100', '5000'),
    ('--min-area', '-1'), ('--seed', '-1')])
def test_bad_options_are_refused(tmp_path, capsys, arguments):
    assert figures.main(['--out', str(tmp_path / 'out'), *arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f'error: {" ".join(arguments)}') and message.count('\n') == 1
    assert not any(tmp_path.iterdir())
