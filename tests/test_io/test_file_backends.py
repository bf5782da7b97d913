"""Images and annotations out of zip archives and LMDB, also in workers."""
import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine import fileio
from torch.utils.data import DataLoader

from mmdet_centernet.datasets import (
    CocoDataset,
    CocoPoseDataset,
    LoadImage,
    VOCDataset,
    ZipBackend,
)
from mmdet_centernet.errors import UserError
from mmdet_centernet.io import zip_backend

ZIP = dict(backend='zip')
HEIGHT, WIDTH, COUNT = 60, 80, 12
XML = (f'<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size><object>'
       '<name>cat</name><bndbox><xmin>3</xmin><ymin>4</ymin><xmax>30</xmax><ymax>20</ymax>'
       '</bndbox></object></annotation>')


def make_image(index):
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def make_coco(keypoints=()):
    images = [dict(id=i, file_name=f'{i}.png', width=WIDTH, height=HEIGHT) for i in range(COUNT)]
    categories = [dict(id=1, name='cat', **dict(keypoints))]
    return dict(images=images, categories=categories, annotations=[
        dict(id=i + 1, image_id=i, category_id=1, bbox=[2, 3, 40, 30], area=1200, iscrowd=0,
             keypoints=[9, 9, 2, 20, 20, 1], num_keypoints=2) for i in range(COUNT)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`data/` with a COCO and a VOC data set in plain files; the paths below are relative."""
    monkeypatch.chdir(tmp_path)
    for name in ('coco/img', 'VOC2007/JPEGImages', 'VOC2007/Annotations', 'VOC2007/ImageSets'):
        Path('data', name).mkdir(parents=True)
    for index in range(COUNT):
        cv2.imwrite(f'data/coco/img/{index}.png', make_image(index))
        cv2.imwrite(f'data/VOC2007/JPEGImages/{index}.jpg', make_image(index))
        Path(f'data/VOC2007/Annotations/{index}.xml').write_text(XML)
    Path('data/VOC2007/ImageSets/train.txt').write_text(
        ''.join(f'{index}\n' for index in range(COUNT)))
    Path('data/coco/boxes.json').write_text(json.dumps(make_coco()))
    Path('data/coco/keypoints.json').write_text(json.dumps(make_coco(dict(
        keypoints=['head', 'tail'], skeleton=[[1, 2]]))))
    return tmp_path


@pytest.fixture
def archive(folder):
    """All of `data/`, packed into data.zip and gone from the disk."""
    files = sorted(path for path in Path('data').rglob('*') if path.is_file())
    with zipfile.ZipFile('data.zip', 'w', zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            packed.write(path)
            path.unlink()
    return 'data.zip@/'


@pytest.fixture
def database(folder):
    """The images in images.lmdb, gone from the disk."""
    lmdb = pytest.importorskip('lmdb')
    with lmdb.open('images.lmdb', map_size=1 << 28) as env, env.begin(write=True) as batch:
        for path in Path('data').rglob('*.*'):
            if path.suffix in ('.png', '.jpg'):
                batch.put(path.as_posix().encode(), path.read_bytes())
                path.unlink()
    return dict(backend='lmdb', db_path='images.lmdb')


def build(kind, prefix='', backend_args=None, load=None):
    """A data set below ``prefix``; ``load`` are the back end's arguments for images."""
    metainfo = dict(classes=('cat', ))
    options = dict(backend_args=backend_args, serialize_data=False, pipeline=[
        dict(type='mmdet_centernet.LoadImage', backend_args=load or backend_args)])
    if kind == 'voc':
        return VOCDataset(
            ann_file=f'{prefix}data/VOC2007/ImageSets/train.txt', metainfo=metainfo,
            data_prefix=dict(sub_data_root=f'{prefix}data/VOC2007/'), **options)
    dataset = CocoPoseDataset if kind == 'keypoints' else CocoDataset
    return dataset(
        data_root=f'{prefix}data/coco/', ann_file=f'{kind}.json', metainfo=metainfo,
        data_prefix=dict(img='img/'), **options)


def check_samples(dataset, jpeg=False):
    assert len(dataset) == COUNT
    for index in range(COUNT):
        sample = dataset[index]
        expected = make_image(index)
        if jpeg:
            expected = cv2.imdecode(cv2.imencode('.jpg', expected)[1], 1)
        np.testing.assert_array_equal(sample['img'], expected)
        assert len(sample['instances']) == 1


@pytest.mark.parametrize('kind', ['boxes', 'keypoints', 'voc'])
def test_everything_in_an_archive(archive, kind):
    check_samples(build(kind, archive, ZIP), jpeg=kind == 'voc')


@pytest.mark.parametrize('kind', ['boxes', 'keypoints', 'voc'])
def test_images_in_a_database(database, kind):
    check_samples(build(kind, load=database), jpeg=kind == 'voc')


def test_images_alone_in_an_archive(archive):
    """Annotations are local, by the same option or without."""
    Path('data/coco/boxes.json').write_text(json.dumps(make_coco()))
    for backend_args in (None, ZIP):
        check_samples(CocoDataset(
            data_root='data/coco/', ann_file='boxes.json', metainfo=dict(classes=('cat', )),
            data_prefix=dict(img='../../data.zip@/data/coco/img/'), serialize_data=False,
            backend_args=backend_args,
            pipeline=[dict(type='mmdet_centernet.LoadImage', backend_args=ZIP)]))


def test_plain_paths_are_local_files(folder):
    assert fileio.get('data/VOC2007/Annotations/0.xml', ZIP) == XML.encode()
    assert fileio.get_text('data/VOC2007/Annotations/0.xml', backend_args=ZIP) == XML
    with fileio.get_local_path('data/coco/boxes.json', ZIP) as path:
        assert path == 'data/coco/boxes.json'
    with pytest.raises(UserError, match=r'nowhere\.png does not exist'):
        LoadImage(backend_args=ZIP)(dict(img_path='data/nowhere.png'))


class Sums(torch.utils.data.Dataset):
    """Sums of all images, many times over; an image read wrongly has another, or none."""

    def __init__(self, prefix, backend_args):
        self.paths = [f'{prefix}data/coco/img/{index}.png' for index in range(COUNT)]
        self.load = LoadImage(backend_args=backend_args)

    def __len__(self):
        return 20 * COUNT

    def __getitem__(self, index):
        return int(self.load(dict(img_path=self.paths[index % COUNT]))['img'].sum())


def check_workers(dataset):
    expected = [int(make_image(index).sum()) for index in range(COUNT)] * 20
    # This process opens what the workers then inherit.
    assert [dataset[index] for index in range(COUNT)] == expected[:COUNT]
    loader = DataLoader(dataset, batch_size=8, num_workers=2, multiprocessing_context='fork')
    assert torch.cat(list(loader)).tolist() == expected
    assert [dataset[index] for index in range(COUNT)] == expected[:COUNT]


def test_workers_read_an_archive(archive):
    check_workers(Sums(archive, ZIP))


def test_every_process_opens_an_archive_for_itself(archive, monkeypatch):
    backend = ZipBackend()
    first = backend._open('data.zip')
    assert backend._open('data.zip') is first
    monkeypatch.setattr(zip_backend.os, 'getpid', lambda: -1)
    second = backend._open('data.zip')
    assert second is not first and backend._open('data.zip') is second


def test_workers_read_a_database(database):
    check_workers(Sums('', database))


def zip_error(path, words):
    with pytest.raises(UserError, match=words) as caught:
        LoadImage(backend_args=ZIP)(dict(img_path=path))
    assert '\n' not in str(caught.value)


def test_errors_of_archives(archive):
    zip_error('none.zip@/a.png', r'^archive none\.zip does not exist: check data_root')
    zip_error('data.zip@/data/coco/img/3.jpg',
              r"^data\.zip has no file 'data/coco/img/3\.jpg'; the nearest .* "
              r"'data/(coco/img/\d\.png|VOC2007/JPEGImages/3\.jpg)'$")
    # The usual one: a folder too many or too few.
    zip_error('data.zip@/img/7.png', r"the nearest that it has is 'data/coco/img/7\.png'")
    Path('broken.zip').write_bytes(Path('data.zip').read_bytes()[:-300])
    zip_error('broken.zip@/a.png', r'^archive broken\.zip cannot be read \(.*\): copy it again')
    Path('folder.zip').mkdir()
    zip_error('folder.zip@/a.png', r'^archive folder\.zip cannot be read')
    with zipfile.ZipFile('empty.zip', 'w'):
        pass
    zip_error('empty.zip@/a.png', 'the nearest that it has is none at all')
    # Bytes of the image itself.
    data = bytearray(Path('data.zip').read_bytes())
    middle = data.find(b'0.jpg') + 3000
    data[middle:middle + 99] = bytes(99)
    Path('odd.zip').write_bytes(data)
    zip_error('odd.zip@/data/VOC2007/JPEGImages/0.jpg',
              r"^'data/VOC2007/JPEGImages/0\.jpg' in odd\.zip cannot be read: ")


def test_missing_annotations_in_an_archive(archive):
    with pytest.raises(UserError, match=r"data\.zip has no file 'data/coco/bxs\.json'; the near"):
        CocoDataset(data_root=f'{archive}data/coco/', ann_file='bxs.json', backend_args=ZIP)


def test_errors_of_a_database(database):
    for path, backend_args, words in (
            ('data/coco/img/99.png', database, r'99\.png is not in what backend_args='),
            ('data/coco/img/ö.png', database, r'ö\.png cannot be read .*UnicodeEncodeError'),
            ('a.png', dict(database, db_path='none.lmdb'), r'a\.png cannot be read .*none\.lmdb')):
        with pytest.raises(UserError, match=words) as caught:
            LoadImage(backend_args=backend_args)(dict(img_path=path))
        assert '\n' not in str(caught.value)
    with pytest.raises(UserError, match='cannot hold annotation files such as .*boxes.json: give'):
        build('boxes', backend_args=database)


def test_unknown_back_end(folder):
    with pytest.raises(UserError, match=r"a\.png cannot be read with .*'tape'.*: KeyError"):
        LoadImage(backend_args=dict(backend='tape'))(dict(img_path='a.png'))
