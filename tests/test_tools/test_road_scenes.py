"""The road scenes' labels against the geometry and the pixels that they are about."""
import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
from helpers.cases import case
from shapely.geometry import Polygon

from mmdet_centernet.io.kitti import read_calib, read_objects, read_split

TOOL = Path(__file__).parents[2] / 'tools/demo_data/road_scenes.py'
sys.path.insert(0, str(TOOL.parent))
spec = importlib.util.spec_from_file_location('road_scenes', TOOL)
road_scenes = importlib.util.module_from_spec(spec)
sys.modules['road_scenes'] = road_scenes
spec.loader.exec_module(road_scenes)

SIZE = (320, 107)
OPTIONS = dict(size=SIZE, seed=3)
COUNTS = dict(train=24, val=3)


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*')
            if path.is_file()}


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp('road_scenes') / 'data/road_scenes'
    assert road_scenes.make_dataset(out, **COUNTS, **OPTIONS)
    return out


@pytest.fixture(scope='module')
def scenes():
    """Scenes with what is drawn of them: a list of (scene, image, owners, alone, labels)."""
    found = []
    for seed in range(30):
        scene = road_scenes.make_scene(np.random.default_rng(seed), SIZE)
        drawn = road_scenes.render(scene)
        found.append((scene, *drawn, road_scenes.annotate(scene, *drawn[1:])))
    return found


def corners_of(location, dims, rotation):
    """Corners [8, 3] of a box, one after the other, as KITTI's readme describes them."""
    (x, y, z), (h, w, length) = location, dims
    return np.array([
        (x + np.cos(rotation) * a * length / 2 + np.sin(rotation) * b * w / 2, y - up * h,
         z - np.sin(rotation) * a * length / 2 + np.cos(rotation) * b * w / 2)
        for a in (-1, 1) for b in (-1, 1) for up in (0, 1)])


def project(camera, points):
    """Pixels of points, one after the other."""
    rows = [camera @ (*point, 1) for point in points]
    return np.array([(u / w, v / w) for u, v, w in rows])


def flat_box(camera, box):
    """The uncut 2D box of a 3D box [7]."""
    pixels = project(camera, corners_of(box[:3], box[3:6], box[6]))
    return np.concatenate((pixels.min(0), pixels.max(0)))


def plain_camera(size=SIZE):
    return road_scenes.Camera(np.tile(
        [[250., 0, 160, 15], [0, 250, 40, 0.1], [0, 0, 1, 0.003]], (4, 1, 1)), size, 1.65)


def compose(*boxes, kinds=None):
    """A scene of things at given places before a plain background."""
    rng = np.random.default_rng(0)
    camera = plain_camera()
    things = [road_scenes.make_thing(rng, kind, box)
              for kind, box in zip(kinds or ['Car'] * len(boxes), boxes, strict=True)]
    return road_scenes.Scene(
        camera, np.full((SIZE[1], SIZE[0], 3), 90, np.uint8), things,
        np.array((0.6, -0.8, 0)), np.ones((SIZE[1], SIZE[0], 1), np.float32))


def car(x, z, rotation=-1.57):
    return np.array((x, 1.65, z, 1.5, 1.65, 4.0, rotation))


def label(scene):
    _, owners, alone = road_scenes.render(scene)
    return road_scenes.annotate(scene, owners, alone)


def test_files_and_format(dataset):
    assert [path.name for path in dataset.parent.iterdir()] == ['road_scenes']
    assert {path.name for path in dataset.iterdir()} == {
        'README.md', 'ImageSets', 'made_by.json', 'training'}
    splits = {split: read_split(dataset / f'ImageSets/{split}.txt') for split in COUNTS}
    assert {split: len(names) for split, names in splits.items()} == COUNTS
    names = splits['train'] + splits['val']
    assert names == [f'{number:06d}' for number in range(len(names))]
    for part, ending in dict(image_2='png', label_2='txt', calib='txt').items():
        files = {path.name for path in (dataset / 'training' / part).iterdir()}
        assert files == {f'{name}.{ending}' for name in names}
    assert 'road_scenes.py' in (dataset / 'README.md').read_text()
    shapes, cameras = set(), []
    for name in names:
        image = cv2.imread(str(dataset / f'training/image_2/{name}.png'))
        shapes.add(image.shape)
        lines = (dataset / f'training/calib/{name}.txt').read_text().splitlines()
        counts = {line.split(':')[0]: len(line.split()) - 1 for line in lines}
        assert counts == dict(P0=12, P1=12, P2=12, P3=12, R0_rect=9, Tr_velo_to_cam=12,
                              Tr_imu_to_velo=12)
        camera = read_calib(dataset / f'training/calib/{name}.txt')
        cameras.append(camera)
        height, width, _ = image.shape
        np.testing.assert_allclose((width, height), SIZE, rtol=0.09)
        assert camera[0, 0] == camera[1, 1]
        np.testing.assert_allclose(camera[0, 0], 0.76 * SIZE[0], rtol=0.041)
        np.testing.assert_allclose(camera[0, 2], width / 2, atol=0.04 * width)
        # Some six centimeters beside the frame's origin, as KITTI's.
        offset = np.linalg.solve(camera[:, :3], camera[:, 3])
        np.testing.assert_allclose(offset, (0.06, 0, 0.0027), atol=0.007)
    assert len(shapes) >= 3
    assert len({camera.tobytes() for camera in cameras}) == len(names)


def test_written_labels_agree_with_the_written_cameras(dataset):
    kinds = set()
    for name in read_split(dataset / 'ImageSets/train.txt'):
        objects = read_objects(dataset / f'training/label_2/{name}.txt')
        camera = read_calib(dataset / f'training/calib/{name}.txt')
        height, width, _ = cv2.imread(str(dataset / f'training/image_2/{name}.png')).shape
        kinds.update(objects.types)
        assert set(objects.types) & set(road_scenes.CLASSES + ('DontCare', ))
        for index, kind in enumerate(objects.types):
            box = objects.bboxes[index]
            assert (box >= 0).all() and (box <= (width - 1, height - 1) * 2).all()
            if kind == 'DontCare':
                assert (objects.dims[index] == -1).all()
                assert (objects.locations[index] == -1000).all()
                assert objects.rotation_y[index] == objects.alpha[index] == -10
                assert objects.truncated[index] == objects.occluded[index] == -1
                continue
            location, rotation = objects.locations[index], objects.rotation_y[index]
            flat = flat_box(camera, (*location, *objects.dims[index], rotation))
            cut = flat.clip(0, (width - 1, height - 1) * 2)
            np.testing.assert_allclose(box, cut, atol=0.0051)
            share = 1 - np.prod(cut[2:] - cut[:2]) / np.prod(flat[2:] - flat[:2])
            np.testing.assert_allclose(objects.truncated[index], share, atol=0.0051)
            alpha = rotation - np.arctan2(location[0], location[2]) - objects.alpha[index]
            assert abs(np.sin(alpha / 2)) < 0.003
            assert -np.pi <= objects.alpha[index] < np.pi and -np.pi <= rotation < np.pi
            assert objects.occluded[index] in (0, 1, 2)
            assert 5 <= location[2] <= 30
            np.testing.assert_allclose(
                objects.dims[index], road_scenes.MEAN_DIMS[kind], rtol=0.11)
    assert {'Car', 'Pedestrian', 'Cyclist', 'DontCare'} <= kinds


def test_every_legal_case_comes_up(scenes):
    labels = [item[-1] for item in scenes]
    counts = np.array([sum(kind != 'DontCare' for kind in item.types) for item in labels])
    assert counts.min() >= 1 and counts.max() >= 4
    assert np.isin(counts, (2, 3, 4)).mean() >= 0.5
    assert {0, 1, 2} <= set(np.concatenate([item.occluded for item in labels]))
    truncated = np.concatenate([item.truncated for item in labels])
    assert (truncated > 0.15).sum() >= 3 and (truncated == 0).mean() > 0.5
    assert 'Van' in {kind for item in labels for kind in item.types}
    assert road_scenes.CLUTTER in {thing.kind for item in scenes for thing in item[0].things}
    turns = np.concatenate([item.rotation_y for item in labels])
    assert all(((turns > start) & (turns < start + np.pi / 4)).any()
               for start in np.arange(-4, 4) * np.pi / 4)


def test_no_two_things_stand_in_one_place(scenes):
    for scene, *_ in scenes:
        rectangles = [Polygon(corners_of(thing.box[:3], thing.box[3:6], thing.box[6])
                              [[0, 2, 6, 4]][:, [0, 2]]) for thing in scene.things]
        for index, one in enumerate(rectangles):
            for other in rectangles[index + 1:]:
                # Both are made longer and wider by the gap first.
                assert shapely.distance(one, other) > 0.29


def test_things_are_drawn_to_the_sides_of_their_boxes():
    """A box in the label is neither larger than what it is around nor smaller."""
    rng = np.random.default_rng(1)
    camera = plain_camera().cam2img
    slack = dict(Car=0.03, Van=0.04, Truck=0.03, Tram=0.03, Misc=0.03, Pedestrian=0.12,
                 Cyclist=0.05)
    for kind, dims in road_scenes.MEAN_DIMS.items():
        for rotation in (-1.5, 0.1, 0.8, 3.0):
            box = np.array((0.5, 1.65, 20, *dims, rotation))
            thing = road_scenes.make_thing(rng, kind, box)
            points = np.concatenate([face.points for face in thing.faces]) - box[:3]
            cos, sin = np.cos(rotation), np.sin(rotation)
            own = np.stack((cos * points[:, 0] - sin * points[:, 2], -points[:, 1],
                            sin * points[:, 0] + cos * points[:, 2]), 1)
            h, w, length = dims
            limits = np.array([(-length / 2, length / 2), (0, h), (-w / 2, w / 2)]).T
            # Panels lie a centimeter on their sides.
            assert (own >= limits[0] - 0.011).all() and (own <= limits[1] + 0.011).all()
            np.testing.assert_allclose(own.min(0), limits[0], atol=slack[kind])
            np.testing.assert_allclose(own.max(0), limits[1], atol=slack[kind])
            scene = compose(box, kinds=[kind])
            owners = road_scenes.render(scene)[1]
            rows, columns = np.nonzero(owners == 0)
            x1, y1, x2, y2 = flat_box(camera, box).clip(0, (SIZE[0] - 1, SIZE[1] - 1) * 2)
            fine = road_scenes.FINE
            seen = np.array((columns.min(), rows.min(), columns.max(), rows.max()))
            seen = (seen + 0.5) / fine - 0.5
            room = 1 + 0.12 * max(x2 - x1, y2 - y1)
            assert (seen[:2] > (x1 - 1, y1 - 1)).all() and (seen[2:] < (x2 + 1, y2 + 1)).all()
            np.testing.assert_allclose(seen, (x1, y1, x2, y2), atol=room)


def test_nearer_things_are_on_top(scenes):
    """Rays through pixels, one by one, against the faces that they meet."""
    rng = np.random.default_rng(0)
    checked = 0
    for scene, _, owners, _, _ in scenes[:12]:
        camera = scene.camera.cam2img
        offset = np.linalg.solve(camera[:, :3], camera[:, 3])
        rows, columns = np.nonzero(owners >= 0)
        for pick in rng.integers(len(rows), size=12) if len(rows) else ():
            row, column = rows[pick], columns[pick]
            pixel = (np.array((column, row)) + 0.5) / road_scenes.FINE - 0.5
            ray = np.linalg.solve(camera[:, :3], (*pixel, 1))
            nearest = {}
            for index, thing in enumerate(scene.things):
                for face in thing.faces:
                    outline = Polygon(project(camera, face.points))
                    point = shapely.Point(pixel)
                    # Where an edge runs through the pixel anything may be seen.
                    if outline.boundary.distance(point) < 0.6:
                        nearest = None
                        break
                    if outline.contains(point):
                        corners = face.points + offset
                        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
                        depth = normal @ corners[0] / (normal @ ray)
                        nearest[index] = min(depth, nearest.get(index, np.inf))
                if nearest is None:
                    break
            if nearest:
                assert owners[row, column] == min(nearest, key=nearest.get)
                checked += 1
    assert checked >= 10


def test_visible_fractions_agree_with_the_pixels(scenes):
    """Against pictures without the rest: what a thing looks like alone, and what is left."""
    checked = 0
    for scene, _, owners, alone, _ in scenes[:10]:
        for index, thing in enumerate(scene.things):
            single = road_scenes.Scene(
                scene.camera, scene.background, [thing], scene.sun, scene.light)
            _, own, (count, ) = road_scenes.render(single)
            assert count == alone[index]
            # Faces that are seen from the edge are in the outline but may not be on top.
            assert 0.97 * count <= np.count_nonzero(own == 0) <= count
            hidden = (own == 0) & (owners != index)
            assert (owners[hidden] >= 0).all()
            checked += 1
    assert checked >= 30


@pytest.mark.parametrize('x, level', [(3.5, 0), (1.7, 1), (1.1, 2)])
def test_occlusion_of_a_car_behind_another(x, level):
    scene = compose(car(0, 10), car(x, 20))
    objects = label(scene)
    assert objects.types == ['Car', 'Car']
    assert objects.occluded.tolist() == [0, level]
    assert (objects.truncated == 0).all()


def test_levels_of_occlusion():
    for seen, level in [
        (100, 0), (85, 0), (84, 1), (50, 1), (49, 2), (20, 2), (19, 'DontCare'), (5, 'DontCare'),
        (4, None), (0, None),
    ]:
        with case(seen, level):
            scene = compose(car(4, 20), car(0, 10))
            owners = np.full((20, 20), -1)
            owners.flat[:150] = 0
            owners.flat[100:100 + seen] = 1
            objects = road_scenes.annotate(scene, owners, [150, 100])
            _, *rest = zip(objects.types, objects.occluded, strict=True)
            assert rest == {None: [], 'DontCare': [('DontCare', -1)]}.get(level, [('Car', level)])


def test_regions_stand_last():
    """Beyond 30 m, though nothing hides it."""
    camera = plain_camera().cam2img
    scene = compose(car(8, 40), car(-0.2, 10))
    objects = label(scene)
    assert objects.types == ['Car', 'DontCare']
    for row, box in enumerate((scene.things[1].box, scene.things[0].box)):
        np.testing.assert_allclose(objects.bboxes[row], flat_box(camera, box), atol=0.0051)


def check_truncation(x):
    box = car(x, 9, 0.2)
    objects = label(compose(box))
    flat = flat_box(plain_camera().cam2img, box)
    left, right = max(flat[0], 0), min(flat[2], SIZE[0] - 1)
    bottom = min(flat[3], SIZE[1] - 1)
    share = 1 - (right - left) * (bottom - flat[1]) / np.prod(flat[2:] - flat[:2])
    assert 0.05 < share < 0.95
    np.testing.assert_allclose(objects.truncated, [share], atol=0.0051)
    # What is outside the picture is not counted as hidden.
    assert objects.occluded.tolist() == [0]


def test_truncation_at_the_border():
    for x in [-6.5, -5.5, 5.0, 6.0]:
        with case(x):
            check_truncation(x)


def test_front_and_back_differ():
    """Lamps: white where a car looks, red behind; KITTI's cars at -pi/2 drive away."""
    for rotation, red in ((-np.pi / 2, True), (np.pi / 2, False)):
        image, _, _ = road_scenes.render(compose(car(0, 9, rotation)))
        blue, green, other = (image[..., channel].astype(int) for channel in range(3))
        assert ((other > 190) & (blue < 60) & (green < 60)).any() == red
        assert ((other > 240) & (green > 240) & (blue < 240) & (blue > 200)).any() != red


def test_empty_scene():
    scene = compose()
    objects = label(scene)
    assert objects.types == [] and objects.bboxes.shape == (0, 4)
    image, owners, alone = road_scenes.render(scene)
    assert (image == 90).all() and (owners == -1).all() and alone == []


def test_same_options_draw_the_same(dataset, tmp_path):
    again = tmp_path / 'again'
    road_scenes.make_dataset(again, train=3, val=2, **OPTIONS)
    files, before = tree(again), tree(dataset)
    for part, ending in road_scenes.PARTS.items():
        for number, same in ((2, 2), (3, 24), (4, 25)):
            assert (files[Path(f'training/{part}/{number:06d}.{ending}')]
                    == before[Path(f'training/{part}/{same:06d}.{ending}')])
    assert not road_scenes.make_dataset(again, train=3, val=2, **OPTIONS)
    assert tree(again) == files
    # A folder with a file missing is made again.
    (again / 'training/calib/000004.txt').unlink()
    assert road_scenes.make_dataset(again, train=3, val=2, **OPTIONS)
    assert tree(again) == files
    (again / 'ImageSets/val.txt').unlink()
    assert road_scenes.make_dataset(again, train=3, val=2, **OPTIONS)
    assert tree(again) == files
    road_scenes.make_dataset(again, train=3, val=2, **dict(OPTIONS, seed=5))
    assert tree(again)[Path('training/image_2/000002.png')] != files[
        Path('training/image_2/000002.png')]


def test_interrupted_run_changes_nothing(tmp_path, monkeypatch):
    out = tmp_path / 'out'
    road_scenes.make_dataset(out, train=1, val=1, **OPTIONS)
    before = tree(tmp_path)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(road_scenes, 'write_readme', stop)
    with pytest.raises(KeyboardInterrupt):
        road_scenes.make_dataset(out, train=2, val=1, **OPTIONS)
    assert tree(tmp_path) == before


@pytest.mark.parametrize('stamp', [None, '{"tool": "figures.py"}', 'no JSON', '[]'])
def test_folder_of_others_is_left_alone(tmp_path, capsys, stamp):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'mine.txt').write_text('x')
    if stamp:
        (out / 'made_by.json').write_text(stamp)
    before = tree(tmp_path)
    assert road_scenes.main(['--out', str(out), '--train', '1', '--val', '1']) == 1
    message = capsys.readouterr().err
    assert 'was not made by this tool' in message and message.count('\n') == 1
    assert tree(tmp_path) == before


@pytest.mark.parametrize('arguments', [
    ('--train', '0'), ('--val', '-1'), ('--size', '100', '63'), ('--size', '2100', '700'),
    ('--size', '640', '400'), ('--size', '640', '150'), ('--seed', '-1')])
def test_bad_options_are_refused(tmp_path, capsys, arguments):
    assert road_scenes.main(['--out', str(tmp_path / 'out'), *arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f'error: {" ".join(arguments)}') and message.count('\n') == 1
    assert not any(tmp_path.iterdir())
