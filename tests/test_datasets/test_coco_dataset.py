"""COCO files as people have them: right, partly wrong, and of no use."""
import json

import cv2
import numpy as np
import pytest
from helpers.cases import case
from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmengine.dataset import ConcatDataset, RepeatDataset

from mmdet_centernet.datasets import CocoDataset, checks
from mmdet_centernet.errors import UserError

NAN = float('nan')


def box(ann_id, bbox, image_id=1, category_id=1, **more):
    area = {'area': bbox[2] * bbox[3]} if len(bbox) == 4 and all(
        isinstance(side, (int, float)) for side in bbox) else {'area': 1}
    return dict(dict(id=ann_id, image_id=image_id, category_id=category_id, bbox=bbox,
                     iscrowd=0, **area), **more)


def content(annotations=(), images=2, names=('cat', 'dog')):
    return dict(
        images=[dict(id=i + 1, file_name=f'{i + 1}.png', width=60, height=40)
                for i in range(images)],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(names)],
        annotations=list(annotations))


GOOD = box(1, [5, 6, 20, 10]), box(2, [0, 0, 60, 40], image_id=2, category_id=2)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(checks, 'print_log', lambda text, **kwargs: lines.append(text))
    return lines


@pytest.fixture
def build(tmp_path):
    def build(data, classes=('cat', 'dog'), **options):
        (tmp_path / 'ann.json').write_text(data if isinstance(data, str) else json.dumps(data))
        if classes:
            options['metainfo'] = dict(classes=classes)
        # MMEngine's serialization collects garbage, which takes most of a test's time.
        options.setdefault('serialize_data', False)
        return CocoDataset(
            data_root=str(tmp_path), ann_file='ann.json', data_prefix=dict(img='img/'),
            **options)
    return build


def test_same_samples_as_mmdet(tmp_path, build):
    data = content([*GOOD, box(3, [1, 2, 3, 4], iscrowd=1), box(4, [0, 0, .5, 9]),
                    box(5, [70, 0, 5, 5]), box(6, [1, 1, 9, 9], image_id=2, area=0),
                    box(7, [1, 1, 9, 9], ignore=1)])
    ours = build(data)
    theirs = MMDetCocoDataset(
        data_root=str(tmp_path), ann_file='ann.json', data_prefix=dict(img='img/'),
        metainfo=dict(classes=('cat', 'dog')))
    assert len(ours) == len(theirs) == 2
    for index in range(2):
        assert ours.get_data_info(index) == theirs.get_data_info(index)
    assert ours.metainfo == theirs.metainfo


@pytest.mark.parametrize('bad, reason', [
    (box(9, [5, 5, 0, 10]), '1 with zero or negative width or height'),
    (box(9, [5, 5, 10, -3]), '1 with zero or negative width or height'),
    (box(9, [5, 5, 10, .5]), '1 with a side below 1 px'),
    (box(9, [60, 5, 10, 10]), '1 outside the image'),
    (box(9, [-20, 5, 20, 10]), '1 outside the image'),
    (box(9, [5, -30, 20, 10]), '1 outside the image'),
    (box(9, [5, 5, NAN, 10], area=9), '1 whose bbox is not four finite numbers'),
    (box(9, [5, float('inf'), 9, 10], area=9), '1 whose bbox is not four finite numbers'),
    (box(9, [5, 5, 10], area=9), '1 whose bbox is not four finite numbers'),
    (box(9, ['5', 5, 10, 10], area=9), '1 whose bbox is not four finite numbers'),
    (dict(box(9, [5, 5, 10, 10]), bbox=None), '1 whose bbox is not four finite numbers'),
    (box(9, [5, 5, 10, 10], area=0), '1 with zero or negative area'),
    (box(9, [5, 5, 10, 10], category_id=77), '1 of a category that the file does not list'),
    (box(9, [5, 5, 10, 10], ignore=1), "1 marked 'ignore'"),
])
def test_unusable_boxes_are_counted_and_named(build, said, bad, reason):
    for test_mode in [False, True]:
        with case(test_mode):
            said.clear()
            dataset = build(content([*GOOD, bad]), test_mode=test_mode)
            instances = [dataset.get_data_info(index)['instances'] for index in range(2)]
            assert [len(found) for found in instances] == [1, 1]
            assert np.isfinite([found[0]['bbox'] for found in instances]).all()
            assert len(said) == 1
            assert f'{reason} (annotation 9 of 1.png)' in said[0]
            assert '2 images, 2 boxes' in said[0]


def test_many_faults_make_one_line(build, said):
    bad = [box(10 + i, [5, 5, -1, 10]) for i in range(5)] + [box(20, [99, 5, 9, 9], image_id=2)]
    lost = box(30, [5, 5, 10, 10], image_id=99)
    build(content([*GOOD, *bad, lost]))
    assert len(said) == 1 and '\n' not in said[0]
    assert ('5 with zero or negative width or height (annotation 10 of 1.png, annotation 11 of '
            '1.png, annotation 12 of 1.png, ...)') in said[0]
    assert '1 outside the image (annotation 20 of 2.png)' in said[0]
    assert '1 of an image that the file does not list (annotation 30 of no image)' in said[0]


def test_boxes_partly_outside_stay(build, said):
    dataset = build(content([box(1, [-5, -5, 20, 20]), box(2, [50, 30, 20, 20])]))
    assert [found['bbox'] for found in dataset.get_data_info(0)['instances']] == [
        [-5, -5, 15, 15], [50, 30, 70, 50]]
    assert 'left out' not in said[0]


def test_missing_area(build):
    bare = {key: value for key, value in GOOD[0].items() if key not in ('area', 'iscrowd')}
    assert build(content([bare])).get_data_info(0)['instances'][0]['ignore_flag'] == 0
    with pytest.raises(UserError, match='annotation 1 in .*ann.json has the area None'):
        build(content([bare]), test_mode=True)


def test_images_without_boxes(build, said):
    assert len(build(content(GOOD[:1], images=3))) == 3
    dataset = build(content(GOOD[:1], images=3), filter_cfg=dict(filter_empty_gt=True))
    assert len(dataset) == 1
    assert '2 without objects' in said[1] and '2.png' in said[1]
    data = content(GOOD)
    data['images'][1]['height'] = 20
    assert len(build(data, filter_cfg=dict(min_size=32))) == 1
    assert '1 smaller than 32 px' in said[2]


def test_image_whose_only_box_is_unusable_counts_as_empty(build):
    bad = box(5, [1, 1, 0, 0], image_id=2, area=1)
    assert len(build(content([GOOD[0], bad]), filter_cfg=dict(filter_empty_gt=True))) == 1


def test_no_box_at_all(build, said):
    assert len(build(content())) == 2
    assert 'nothing to learn from' in said[0]
    with pytest.raises(UserError, match=r'no image of .*ann.json is left by filter_cfg.*2 with'):
        build(content(), filter_cfg=dict(filter_empty_gt=True))


def test_unlabelled_test_file(build):
    """COCO's image_info_test-dev2017.json has no annotations."""
    data = content()
    del data['annotations']
    assert len(build(data, test_mode=True)) == 2
    with pytest.raises(UserError, match="not in COCO format.*without a list 'annotations'"):
        build(data)


@pytest.mark.parametrize('data, words', [
    ('{', 'is not JSON'),
    ('', 'is not JSON'),
    ('[1, 2]', "not in COCO format: it is a list, without a list 'images' and 'categories'"),
    ('{"data_list": [], "metainfo": {}}', r"keys \('data_list', 'metainfo'\), without"),
    ({**content(), 'annotations': {}}, "without a list 'annotations'"),
    ({**content(GOOD), 'images': [3]}, r'images\[0\] of .*ann.json is not a JSON object'),
    (content(images=0), 'lists no image at all'),
    ({**content(), 'images': [dict(id=1, width=3, height=3)]},
     r'images\[0\] of .* has no file_name'),
    ({**content(), 'images': [dict(id=1, file_name='a.png')]}, r"'a.png'\) has no width and no h"),
    ({**content(), 'images': [dict(id=1, file_name='a.png', width=0, height=5)]},
     "image 'a.png' in .* has width 0 and height 5"),
    ({**content(), 'images': [dict(id=1, file_name=name, width=9, height=5) for name in 'ab']},
     "images 'a' and 'b' in .* have the same id 1"),
    ({**content(), 'categories': [dict(id=1)]}, r'categories\[0\] of .* has no id or no name'),
    ({**content(), 'categories': [dict(id=1, name=name) for name in ('cat', 'dog')]},
     "two categories of .* have the id 1: 'cat' and 'dog'"),
    (content(names=('cat', 'dog', 'cat')), "category 'cat' is given twice"),
    (content([GOOD[0], GOOD[0]]), r'annotations\[1\] of .* has the id 1 of another one'),
    (content([dict(image_id=1)]), r'annotations\[0\] of .* has no id'),
    (content(names=('cat', )), r"\('dog',\) are missing from the categories \('cat',\)"),
    (content(names=('dog', 'cat')), r"another order .*set metainfo=dict\(classes=\('dog', 'cat'"),
    (content(names=('cow', 'pig')),
     r"\('cow', 'pig'\) in .*ann.json, but metainfo.classes are \('cat', 'dog'\).*"
     r"set metainfo=dict\(classes=\('cow', 'pig'\)\).*num_classes=2"),
])
def test_broken_files_are_named(build, data, words):
    with pytest.raises(UserError, match=words) as error:
        build(data)
    assert 'ann.json' in str(error.value) and '\n' not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match='nowhere.json does not exist: check data_root'):
        CocoDataset(data_root=str(tmp_path), ann_file='nowhere.json')


def test_classes_left_at_those_of_coco(build):
    with pytest.raises(UserError, match=(
            r'are the 80 of COCO, as the config sets none.*'
            r"metainfo=dict\(classes=\('tree',\)\).*num_classes=1")):
        build(content(names=('tree', )), classes=None)


def test_many_categories_are_abbreviated(build):
    with pytest.raises(UserError, match=r"'c7', \.\.\. 30 in all"):
        build(content(names=[f'c{i}' for i in range(30)]))


def test_forgotten_comma(build):
    with pytest.raises(UserError, match=r"text 'cat'.*classes=\('cat', \)"):
        build(content(GOOD), classes=('cat'))


def test_subset_of_the_classes(build, said):
    """Asking for fewer classes than the file has is fine, and is said."""
    dataset = build(content(GOOD), classes=('dog', ))
    assert [found['bbox_label'] for found in dataset.get_data_info(1)['instances']] == [0]
    assert '1 of classes not asked for (annotation 1 of 1.png)' in said[0]


CROWDS = box(3, [1, 2, 30, 20], iscrowd=1), box(4, [2, 3, 9, 9], image_id=2, iscrowd=1)


@pytest.mark.parametrize('options, objects, line', [
    (dict(), 2, '2 boxes and 2 to ignore'),
    (dict(crowd_as_objects=True), 4, '4 boxes, 2 of them crowds'),
    (dict(crowd_as_objects=True, test_mode=True), 2, '2 boxes and 2 to ignore')])
def test_crowds_as_objects_or_to_ignore(build, said, options, objects, line):
    dataset = build(content([*GOOD, *CROWDS]), **options)
    flags = [found['ignore_flag'] for index in range(2)
             for found in dataset.get_data_info(index)['instances']]
    assert len(flags) == 4 and flags.count(0) == objects
    assert said == [f'{dataset.ann_file}: 2 images, {line}'
                    + ' (crowd, difficult or too small)' * (objects == 2)]


def test_only_crowds_of_images_that_are_left_count(build, said):
    data = content([*GOOD, *CROWDS])
    data['images'][1]['height'] = 20
    build(data, crowd_as_objects=True, filter_cfg=dict(min_size=32))
    assert '1 images, 2 boxes, 1 of them crowds.' in said[0]


def test_crowds_reach_the_pipeline_as_objects(build, tmp_path):
    (tmp_path / 'img').mkdir()
    cv2.imwrite(str(tmp_path / 'img/1.png'), np.zeros((40, 60, 3), np.uint8))
    pipeline = [step for step in PIPELINE if 'CenterAffine' not in step['type']]
    for taken, objects in ((False, 1), (True, 2)):
        sample = build(content([GOOD[0], CROWDS[0]]), pipeline=pipeline,
                       crowd_as_objects=taken)[0]['data_samples']
        assert len(sample.gt_instances) == objects
        assert len(sample.ignored_instances) == 2 - objects


def test_dataset_in_wrappers(build):
    dataset = build(content(GOOD))
    assert len(RepeatDataset(dataset, times=3)) == 6
    both = ConcatDataset([dataset, build(content(GOOD))])
    assert len(both) == 4 and both.metainfo['classes'] == ('cat', 'dog')


def test_lazy_init(build):
    dataset = build(content(GOOD), lazy_init=True, serialize_data=True)
    assert not dataset._fully_initialized
    dataset.full_init()
    dataset.full_init()
    assert len(dataset) == 2


PIPELINE = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.CenterAffine', crop_size=(64, 32)),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs', meta_keys=('img_path', 'homography_matrix'))]


def test_samples_through_the_pipeline(build, tmp_path):
    (tmp_path / 'img').mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / f'img/{index + 1}.png'), np.zeros((40, 60, 3), np.uint8))
    dataset = build(content(GOOD[:1]), pipeline=PIPELINE)
    for index in range(2):
        sample = dataset[index]
        assert sample['inputs'].shape == (3, 32, 64)
        assert len(sample['data_samples'].gt_instances) <= 1 - index


def test_missing_and_broken_images_stop(build, tmp_path):
    dataset = build(content(GOOD), pipeline=PIPELINE)
    with pytest.raises(UserError, match=r'img.1\.png does not exist'):
        dataset[0]
    (tmp_path / 'img').mkdir()
    (tmp_path / 'img/1.png').write_bytes(b'\x89PNG\r\n\x1a\n')
    with pytest.raises(UserError, match=r'img.1\.png is truncated'):
        dataset[0]


def test_dropped_image_is_logged(build, said):
    dropped = iter([None, None])
    dataset = build(content(GOOD), pipeline=[lambda results: next(dropped, results)])
    assert dataset[0] is not None
    assert len(said) == 2
    assert 'dropped' in said[1] and '1.png' in said[1]
