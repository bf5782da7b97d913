"""KITTI's folders as people have them: right, partly wrong, and of no use."""
import os
import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.registry import DATASETS, METRICS, init_default_scope
from PIL.ImageFile import ImageFile

from mmdet_centernet.datasets import KittiMono3DDataset, checks, kitti
from mmdet_centernet.errors import UserError

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'
WIDTH, HEIGHT = 124, 37
P2 = np.array([[72.15, 0, 60.9, 4.48], [0, 72.15, 17.2, .021], [0, 0, 1, .0027]])
CALIB = 'P0: ' + '1 ' * 12 + '\nP2: ' + ' '.join(map(str, P2.ravel())) + '\n'
REGION = 'DontCare -1 -1 -10 90 10 110 20 -1 -1 -1 -1000 -1000 -1000 -10'


def label(name='Car', bbox=(10, 5, 30, 25), alpha=-1.5, rotation_y=-1.25, more='0.25 2'):
    return (f'{name} {more} {alpha} {" ".join(map(str, bbox))} 1.5 1.6 4.2 -2.5 1.7 20.5 '
            f'{rotation_y}')


@pytest.fixture
def said(monkeypatch):
    lines = []
    for module in (checks, kitti):
        monkeypatch.setattr(module, 'print_log', lambda text, **kwargs: lines.append(
            (text, kwargs.get('level', 20))))
    return lines


@pytest.fixture
def build(tmp_path):
    """``build({'000001': [lines], ...})``: the folders, and the data set of them."""
    encoded = cv2.imencode('.png', np.zeros((HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()

    def build(files, classes=None, write=True, side='training', **options):
        if write:
            for folder in ('image_2', 'label_2', 'calib'):
                (tmp_path / side / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / 'ImageSets').mkdir(exist_ok=True)
            (tmp_path / 'ImageSets/some.txt').write_text(
                ''.join(f'{name}\n' for name in files))
            for name, lines in files.items():
                (tmp_path / side / f'image_2/{name}.png').write_bytes(encoded)
                (tmp_path / side / f'calib/{name}.txt').write_text(CALIB)
                (tmp_path / side / f'label_2/{name}.txt').write_text(
                    ''.join(f'{line}\n' for line in lines))
        if classes:
            options['metainfo'] = dict(classes=classes)
        # MMEngine's serialization collects garbage, which takes most of a test's time.
        options.setdefault('serialize_data', False)
        return KittiMono3DDataset(
            'ImageSets/some.txt', data_root=str(tmp_path), **options)
    return build


def test_samples(build, tmp_path):
    files = {'000007': [label(), label('Pedestrian', (0, 0, 5, 9), more='-1 -1')], '3': []}
    dataset = build(files)
    assert dataset.metainfo['classes'] == ('Pedestrian', 'Car', 'Cyclist')
    assert len(dataset.metainfo['palette']) == 3
    first, second = (dataset.get_data_info(index) for index in range(2))
    folder = tmp_path / 'training'
    assert first['img_path'] == str(folder / 'image_2/000007.png')
    assert first['label_path'] == str(folder / 'label_2/000007.txt')
    assert (first['img_id'], second['img_id']) == ('000007', '3')
    assert (first['height'], first['width']) == (HEIGHT, WIDTH)
    assert first['cam2img'].dtype == np.float64
    np.testing.assert_array_equal(first['cam2img'], P2)
    assert first['instances'] == [
        dict(bbox=[10, 5, 30, 25], bbox_label=1, ignore_flag=0, type='Car', alpha=-1.5,
             bbox_3d=[-2.5, 1.7, 20.5, 1.5, 1.6, 4.2, -1.25], truncated=.25, occluded=2),
        dict(bbox=[0, 0, 5, 9], bbox_label=0, ignore_flag=0, type='Pedestrian', alpha=-1.5,
             bbox_3d=[-2.5, 1.7, 20.5, 1.5, 1.6, 4.2, -1.25], truncated=-1, occluded=-1)]
    assert second['instances'] == []
    # The same in test mode, where ground truth is drawn, and through MMEngine's serialization.
    for options in (dict(test_mode=True), dict(serialize_data=True)):
        again = build(files, write=False, **options).get_data_info(0)
        assert pickle.dumps({**again, 'sample_idx': 0}) == pickle.dumps(
            {**first, 'sample_idx': 0})


def test_angles_are_brought_into_one_turn(build):
    dataset = build({'1': [label(alpha=3.5, rotation_y=-3.5), label(alpha=3.1416), REGION]})
    first, second, region = dataset.get_data_info(0)['instances']
    assert first['alpha'] == pytest.approx(3.5 - 2 * np.pi)
    assert first['bbox_3d'][6] == pytest.approx(2 * np.pi - 3.5)
    assert second['alpha'] == pytest.approx(3.1416 - 2 * np.pi)
    assert -np.pi <= region['alpha'] < np.pi


LINES = [label(), label('Van'), label('Truck'), label('Person_sitting'), REGION, label('Tram'),
         label('Misc'), label('Cyclist')]


def ignored(dataset):
    return [(item['type'], item['bbox_label'], item['ignore_flag'])
            for item in dataset.get_data_info(0)['instances']]


def test_neighbors_are_ignored_for_their_class(build):
    assert ignored(build({'1': LINES})) == [
        ('Car', 1, 0), ('Van', 1, 1), ('Truck', 1, 1), ('Person_sitting', 0, 1),
        ('DontCare', -1, 1), ('Cyclist', 2, 0)]


@pytest.mark.parametrize('classes, types, expected', [
    # Neighbors of what is not asked for are nobody's.
    (('Car', ), None, [('Car', 0, 0), ('Van', 0, 1), ('Truck', 0, 1), ('DontCare', -1, 1)]),
    # What is a class is learned.
    (('Van', 'Car'), None,
     [('Car', 1, 0), ('Van', 0, 0), ('Truck', 1, 1), ('DontCare', -1, 1)]),
    (('Car', 'Cyclist'), dict(Tram='Car', Misc=None),
     [('Car', 0, 0), ('Tram', 0, 1), ('Misc', -1, 1), ('Cyclist', 1, 0)]),
    (('Car', ), {}, [('Car', 0, 0)]),
])
def test_ignored_types_are_an_option(build, classes, types, expected):
    assert ignored(build({'1': LINES}, classes, ignored_types=types)) == expected


def test_ignored_types_must_name_classes(build):
    with pytest.raises(UserError, match=r"'Cra', which is not one of metainfo.classes \('Car',\)"):
        build({'1': LINES}, ('Car', ), ignored_types=dict(Van='Cra'))


def test_log_counts_everything_in_one_line(build, said):
    build({'1': LINES, '2': [label(), REGION]})
    (text, level), = said
    assert text.endswith(
        'some.txt: 2 images, 3 boxes (0 Pedestrian, 2 Car, 1 Cyclist), to ignore 2 DontCare, '
        "1 Person_sitting, 1 Truck, 1 Van, of other types 1 Misc, 1 Tram; no label has the type "
        "'Pedestrian'")
    assert level == 30
    said.clear()
    build({'1': [label(name) for name in ('Car', 'Pedestrian', 'Cyclist', 'Tram')]})
    assert said[0][0].endswith('(1 Pedestrian, 1 Car, 1 Cyclist), of other types 1 Tram')
    assert said[0][1] == 20


def test_boxes_outside_the_image_are_left_out_and_counted(build, said):
    outside = [(-9, 5, 0, 25), (WIDTH, 5, WIDTH + 9, 25), (5, HEIGHT, 25, 99), (5, -9, 25, -1)]
    edges = [(-9, 5, 1, 25), (WIDTH - 1, 5, WIDTH + 9, 25)]
    dataset = build({'1': [label(bbox=bbox) for bbox in outside + edges]})
    assert [item['bbox'] for item in dataset.get_data_info(0)['instances']] == [
        list(map(float, bbox)) for bbox in edges]
    assert '. Boxes left out: 4 outside the image (line 1 of ' in said[0][0]
    assert said[0][1] == 30


def test_images_of_other_sizes_and_kinds(build, tmp_path):
    build({'1': [label()], '2': [label()]})
    folder = tmp_path / 'training/image_2'
    cv2.imwrite(str(folder / '1.png'), np.zeros((50, 200), np.uint8))
    (folder / '2.png').unlink()
    cv2.imwrite(str(folder / '2.jpg'), np.zeros((30, 100, 3), np.uint8))
    dataset = build({'1': 0, '2': 0}, write=False)
    infos = [dataset.get_data_info(index) for index in range(2)]
    assert [(info['width'], info['height']) for info in infos] == [(200, 50), (100, 30)]
    assert infos[1]['img_path'].endswith('2.jpg')


def test_filters(build, said):
    files = {'1': [label()], '2': [], '3': [label('Van'), REGION]}
    assert len(build(files)) == 3
    assert len(build(files, filter_cfg=dict(filter_empty_gt=True))) == 1
    assert '2 without objects (' in said[-1][0]
    assert len(build(files, filter_cfg=dict(filter_empty_gt=True), test_mode=True)) == 3
    assert len(build(files, filter_cfg=dict(min_size=HEIGHT))) == 3
    with pytest.raises(UserError, match='no image of .* is left by filter_cfg'):
        build(files, filter_cfg=dict(min_size=HEIGHT + 1))


def test_nothing_to_learn_is_logged(build, said):
    build({'1': [], '2': [REGION]})
    assert 'nothing to learn from' in said[0][0] and said[0][1] == 30
    build({'1': []}, test_mode=True)
    assert said[1][1] == 20


def test_images_without_labels(build, tmp_path, said):
    prefix = dict(img='testing/image_2/', label=None, calib='testing/calib/')
    with pytest.raises(UserError, match='label=None, so there is nothing to learn'):
        build({'1': [label()]}, side='testing', data_prefix=prefix)
    (tmp_path / 'testing/label_2/1.txt').unlink()
    (tmp_path / 'testing/label_2').rmdir()
    dataset = build({'1': 0}, write=False, data_prefix=prefix, test_mode=True)
    info = dataset.get_data_info(0)
    assert info['instances'] == [] and info['label_path'] is None
    assert info['img_path'] == str(tmp_path / 'testing/image_2/1.png')
    assert said[-1][0].endswith('1 images, 0 boxes (no labels)') and said[-1][1] == 20


def test_the_pipeline_runs_and_two_splits_join(build):
    def mark(results):
        return dict(results, seen=True)
    dataset = build({'1': [label()], '2': []}, pipeline=[mark])
    both = ConcatDataset([dataset, dataset])
    assert len(both) == 4 and both[2]['seen'] and both[2]['img_id'] == '1'


@pytest.mark.parametrize('change, words', [
    (dict(ann='ImageSets/no.txt'), 'split file .*no.txt does not exist'),
    (dict(split=''), 'some.txt lists no image'),
    (dict(split='1\n\n4\n5\n2\n'),
     r"line 3 of .*some.txt names '4', but .*image_2/4.png does not exist \(2 of 4 images"),
    (dict(remove='label_2'), "folder .*label_2/ does not exist.*'label'"),
    (dict(remove='image_2'), "folder .*image_2/ does not exist.*'img'"),
    (dict(remove='calib'), "folder .*calib/ does not exist.*'calib'"),
    (dict(remove='label_2/2.txt'), 'label file .*label_2/2.txt does not exist'),
    (dict(remove='calib/2.txt'), 'calib file .*calib/2.txt does not exist'),
    (dict(write=('calib/2.txt', 'P2: 1 2 3')), 'line 1 of .*calib/2.txt .* 12 finite'),
    (dict(write=('calib/2.txt', 'P3: 1 2 3')), "calib/2.txt has no line 'P2'"),
    (dict(write=('label_2/2.txt', label() + '\n' + label().rsplit(' ', 1)[0])),
     'line 2 of .*label_2/2.txt has 14 fields'),
    (dict(write=('label_2/2.txt', label(alpha='nan'))), 'line 1 of .*2.txt has the alpha nan'),
    (dict(write=('label_2/2.txt', label().replace('1.6', '0'))), 'line 1 of .*positive'),
    (dict(write=('label_2/2.txt', label().replace('20.5', '-2'))), 'line 1 of .*depth'),
    (dict(write=('image_2/2.png', 'no image')), 'image .*image_2/2.png is not an image'),
    (dict(write=('image_2/2.png', '')), 'image .*image_2/2.png is not an image'),
])
def test_broken_files_are_named(build, tmp_path, change, words):
    build({'1': [label()], '2': [label()]})
    folder = tmp_path / 'training'
    if 'split' in change:
        (tmp_path / 'ImageSets/some.txt').write_text(change['split'])
    if 'remove' in change:
        path = folder / change['remove']
        for item in (path.iterdir() if path.is_dir() else [path]):
            os.remove(item)
        if path.is_dir():
            path.rmdir()
    if 'write' in change:
        name, text = change['write']
        (folder / name).write_text(text)
    ann_file = change.get('ann', 'ImageSets/some.txt')
    with pytest.raises(UserError, match=words) as error:
        KittiMono3DDataset(ann_file, data_root=str(tmp_path))
    assert '\n' not in str(error.value)


def test_bad_options_are_refused(build, tmp_path):
    with pytest.raises(UserError, match="has the key 'img_path': it knows .'img', 'label'"):
        build({'1': []}, data_prefix=dict(img_path='training/image_2'))
    with pytest.raises(UserError, match='needs ann_file'):
        KittiMono3DDataset(data_root=str(tmp_path))


def test_classes_without_labels(build, said):
    with pytest.raises(UserError, match=(
            r"types in the labels of .*some.txt are \('Car', 'Van'\), but metainfo.classes are "
            r"\('car',\).* set metainfo=dict\(classes=\('Car', 'Van'\)\).*num_classes=2")):
        build({'1': [label(), REGION], '2': [label('Van')]}, ('car', ))
    # One class of several may be rare.
    build({'1': [label()]}, ('Car', 'Bus'))
    assert said[-1][0].endswith("no label has the type 'Bus'") and said[-1][1] == 30


def test_files_are_read_once_and_images_are_not_decoded(build, monkeypatch):
    files = {f'{number:06d}': LINES for number in range(50)}
    read = Counter()

    def counted(name, function):
        def count(path):
            read[name, Path(path).stem] += 1
            return function(path)
        return count

    for name in ('read_objects', 'read_calib', '_image_size'):
        monkeypatch.setattr(kitti, name, counted(name, getattr(kitti, name)))
    monkeypatch.setattr(ImageFile, 'load', lambda image: read.update(['decoded']))
    assert len(build(files)) == 50
    assert len(read) == 3 * 50 and set(read.values()) == {1} and 'decoded' not in read


def test_progress_is_logged_on_slow_disks(build, said, monkeypatch):
    files = {f'{number:06d}': LINES for number in range(3)}
    monkeypatch.setattr(kitti, 'PROGRESS_INTERVAL', -1)
    build(files)
    assert [text.rsplit(': ', 1)[1] for text, _ in said[:2]] == [
        '0 of 3 images read', '1 of 3 images read']


@pytest.mark.parametrize('name, folder', [
    ('kitti_3dop', 'ImageSets_3dop'), ('../../official/ddd_sub', 'ImageSets_subcnn')])
def test_the_configs_read_kitti(build, tmp_path, name, folder):
    init_default_scope('mmdet')
    build({'000001': LINES, '000002': LINES})
    (tmp_path / folder).mkdir()
    (tmp_path / folder / 'train.txt').write_text('000001\n')
    (tmp_path / folder / 'val.txt').write_text('000002\n')
    config = Config.fromfile(CONFIGS / f'{name}.py')
    assert config.test_dataloader == config.val_dataloader
    assert config.test_evaluator == config.val_evaluator
    loaders = config.train_dataloader, config.test_dataloader
    np.random.seed(0)  # the first draw is above one half: not scaled, nothing is cut off
    for loader, number in zip(loaders, ('000001', '000002')):
        assert loader.dataset.data_root == 'data/kitti/'
        loader.dataset.update(data_root=str(tmp_path), serialize_data=False)
        packed = DATASETS.build(loader.dataset)[0]
        found = packed['data_samples']
        assert packed['inputs'].shape == (3, 384, 1280)
        assert found.img_id == number and found.ori_shape == (HEIGHT, WIDTH)
        assert found.augmented is False and found.cam2img.shape == (3, 4)
        assert found.gt_instances.labels.tolist() == [1, 2]
        assert found.ignored_instances.labels.tolist() == [1, 1, 0, -1]
    # Ground truth of a test is in pixels of the original image, the camera in the input's.
    assert found.gt_instances.bboxes.tensor[0].tolist() == [10, 5, 30, 25]
    assert found.cam2img[0, 0] == pytest.approx(72.15 * 1280 / WIDTH)
    metric = config.test_evaluator
    assert metric['split_file'] == f'data/kitti/{folder}/val.txt'
    for key in ('label_dir', 'split_file'):
        metric[key] = metric[key].replace('data/kitti', str(tmp_path))
    METRICS.build(metric).dataset_meta = dict(classes=('Pedestrian', 'Car', 'Cyclist'))
