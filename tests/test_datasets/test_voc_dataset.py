"""VOC's XML files as people have them, and both metrics on them."""
import cv2
import numpy as np
import pytest
from mmdet.datasets import VOCDataset as MMDetVOCDataset
from mmengine.dataset import ConcatDataset

from mmdet_centernet.datasets import VOCDataset, checks
from mmdet_centernet.errors import UserError

SIZE = '<size><width>60</width><height>40</height><depth>3</depth></size>'


def obj(name='cat', box=(6, 7, 25, 16), more='<difficult>0</difficult>'):
    bndbox = ''.join(f'<{key}>{value}</{key}>'
                     for key, value in zip(('xmin', 'ymin', 'xmax', 'ymax'), box))
    return f'<object><name>{name}</name>{more}<bndbox>{bndbox}</bndbox></object>'


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(checks, 'print_log', lambda text, **kwargs: lines.append(text))
    return lines


@pytest.fixture
def build(tmp_path):
    root = tmp_path / 'VOC2007'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)

    def build(files, classes=('cat', 'dog'), dataset=VOCDataset, **options):
        (root / 'ImageSets/Main/some.txt').write_text(
            ''.join(f'{name}\n' for name in files))
        for name, text in files.items():
            if text is not None:
                text = text if text.startswith('?') else f'<annotation>{text}</annotation>'
                (root / f'Annotations/{name}.xml').write_text(text)
            cv2.imwrite(str(root / f'JPEGImages/{name}.jpg'), np.zeros((40, 60, 3), np.uint8))
        if classes:
            options['metainfo'] = dict(classes=classes)
        # MMEngine's serialization collects garbage, which takes most of a test's time.
        options.setdefault('serialize_data', False)
        return dataset(
            data_root=str(tmp_path), ann_file='VOC2007/ImageSets/Main/some.txt',
            data_prefix=dict(sub_data_root='VOC2007/'), **options)
    return build


def test_same_samples_as_mmdet(build):
    files = dict(a=SIZE + obj() + obj('dog', more='<difficult>1</difficult>') + obj('cow'),
                 b=SIZE + obj(more='', box=(1, 1, '60.0', 40)), c=obj())
    ours, theirs = build(files), build(files, dataset=MMDetVOCDataset)
    assert len(ours) == len(theirs) == 3
    for index in range(3):
        assert ours.get_data_info(index) == theirs.get_data_info(index)
    assert ours.metainfo == theirs.metainfo
    assert ours.metainfo['dataset_type'] == 'VOC2007'


@pytest.mark.parametrize('bad, reason', [
    (obj(box=(9, 9, 9, 20)), 'with zero or negative width or height'),
    (obj(box=(9, 30, 20, 20)), 'with zero or negative width or height'),
    (obj(box=(61, 5, 70, 20)), 'outside the image'),
    (obj(box=(-30, 5, 1, 20)), 'outside the image'),
    (obj(box=('nan', 5, 20, 20)), 'whose bndbox is not four finite numbers'),
    (obj(box=(5, 5, 'inf', 20)), 'whose bndbox is not four finite numbers'),
    (obj(box=(5, 'five', 20, 20)), 'whose bndbox is not four finite numbers'),
    (obj(box=(5, 5, 20)), 'whose bndbox is not four finite numbers'),
    ('<object><name>cat</name></object>', 'whose bndbox is not four finite numbers'),
    ('<object/>', 'without a name'),
    (obj('cow'), 'of classes not asked for'),
    (obj(more='<difficult>Unspecified</difficult>'), "whose 'difficult' is neither 0 nor 1"),
])
def test_unusable_objects_are_counted_and_named(build, said, bad, reason):
    dataset = build(dict(a=SIZE + obj() + bad, b=SIZE))
    assert [len(dataset.get_data_info(index)['instances']) for index in range(2)] == [1, 0]
    assert len(said) == 1 and '\n' not in said[0]
    assert f'1 {reason} (object 1 of ' in said[0] and 'a.xml' in said[0]
    assert '2 images, 1 boxes' in said[0]


def test_filters_are_counted(build, said):
    files = dict(a=SIZE + obj(), b=SIZE, c=SIZE.replace('40', '20') + obj())
    dataset = build(files, filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=15))
    assert len(dataset) == 1
    assert '1 images, 0 boxes and 1 to ignore' in said[0]
    assert '1 without objects' in said[0] and '1 smaller than 32 px' in said[0]


@pytest.mark.parametrize('files, words', [
    (dict(a='?no'), 'a.xml is not XML'),
    (dict(a=None), "a.xml does not exist, but .*some.txt lists 'a'"),
    (dict(a='<size/>' + obj()), 'a.xml has no <size> with a whole width and height'),
    (dict(a=SIZE.replace('60', 'wide') + obj()), 'a.xml has no <size> with a whole width'),
    (dict(a=SIZE.replace('60', '0') + obj()), r'a.xml gives width and height \[0.0, 40.0\]'),
    ({}, 'some.txt lists no image at all'),
    (dict(a=SIZE + obj('tree')), r"some.txt are \('tree',\), but metainfo.classes are "
     r"\('cat', 'dog'\).*set metainfo=dict\(classes=\('tree',\)\).*num_classes=1"),
])
def test_broken_files_are_named(build, files, words):
    with pytest.raises(UserError, match=words) as error:
        build(files)
    assert '\n' not in str(error.value)


def test_missing_list(tmp_path):
    with pytest.raises(UserError, match='nowhere.txt does not exist: check data_root'):
        VOCDataset(data_root=str(tmp_path), ann_file='nowhere.txt')


def test_missing_image_without_size(build, tmp_path):
    build(dict(a=SIZE + obj()))
    (tmp_path / 'VOC2007/JPEGImages/a.jpg').unlink()
    (tmp_path / 'VOC2007/Annotations/a.xml').write_text(f'<annotation>{obj()}</annotation>')
    with pytest.raises(UserError, match='a.jpg does not exist'):
        VOCDataset(data_root=str(tmp_path), ann_file='VOC2007/ImageSets/Main/some.txt',
                   data_prefix=dict(sub_data_root='VOC2007/'),
                   metainfo=dict(classes=('cat', 'dog')))


def test_years_together(build):
    dataset = build(dict(a=SIZE + obj()))
    assert len(ConcatDataset([dataset, dataset], ignore_keys=['dataset_type'])) == 2
