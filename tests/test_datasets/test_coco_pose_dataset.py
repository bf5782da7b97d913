"""Files with keypoints as people have them: right, partly wrong, and of no use."""
import json
import pickle

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, RepeatDataset

from mmdet_centernet.datasets import CocoDataset, CocoPoseDataset, checks
from mmdet_centernet.datasets.skeleton import COCO_NAMES, COCO_SKELETON, parse_skeleton
from mmdet_centernet.errors import UserError

NAN, INF = float('nan'), float('inf')
NAMES = ['head', 'left_hand', 'right_hand']
WIDTH, HEIGHT = 60, 40
KEYPOINT_INFO = {
    0: dict(name='head', swap=''), 1: dict(name='left_hand', swap='right_hand', color=[1, 2, 3]),
    2: dict(name='right_hand', swap='left_hand')}
GOOD = [10, 12, 2, 5, 6, 1, 0, 0, 0]


def pose(ann_id, keypoints=None, image_id=1, category_id=1, **more):
    joints = {} if keypoints is None else dict(
        keypoints=list(keypoints), num_keypoints=sum(flag in (1, 2) for flag in keypoints[2::3]))
    return dict(dict(id=ann_id, image_id=image_id, category_id=category_id, bbox=[5, 6, 20, 10],
                     area=200, iscrowd=0, **joints), **more)


def content(annotations=(), images=2, categories=None):
    return dict(
        images=[dict(id=i + 1, file_name=f'{i + 1}.png', width=WIDTH, height=HEIGHT)
                for i in range(images)],
        categories=categories or [dict(id=1, name='figure', keypoints=NAMES, skeleton=[[1, 2]])],
        annotations=list(annotations))


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(checks, 'print_log', lambda text, **kwargs: lines.append(text))
    return lines


@pytest.fixture
def build(tmp_path):
    def build(data, classes=('figure', ), kind=CocoPoseDataset, metainfo=None, **options):
        (tmp_path / 'ann.json').write_text(json.dumps(data))
        metainfo = dict(metainfo or {}, **(dict(classes=classes) if classes else {}))
        # MMEngine's serialising collects garbage, which takes most of a test's time.
        options.setdefault('serialize_data', False)
        return kind(
            data_root=str(tmp_path), ann_file='ann.json', data_prefix=dict(img='img/'),
            metainfo=metainfo, **options)
    return build


def joints_of(dataset, index=0):
    instances = dataset.get_data_info(index)['instances']
    return ([instance['keypoints'].tolist() for instance in instances],
            [instance['keypoints_visible'].tolist() for instance in instances])


def test_joints_of_random_files(build, said):
    """Each annotation's, in its order, beside what CocoDataset gives."""
    rng = np.random.default_rng(0)
    annotations, expected = [], {1: [], 2: [], 3: []}
    for index in range(40):
        image_id = int(rng.integers(1, 4))
        joints = [[float(rng.integers(0, 2 * side + 1)) / 2 for side in (WIDTH, HEIGHT)]
                  + [int(rng.integers(0, 3))] for _ in NAMES]
        bad_box = index % 7 == 3
        more = dict(bbox=[1, 1, 0, 5]) if bad_box else {}
        annotations.append(pose(100 - index, sum(joints, []), image_id, **more))
        if not bad_box:
            expected[image_id].append(joints)
    data = content(annotations, images=3)
    dataset, boxes = build(data), build(data, kind=CocoDataset)
    assert len(dataset) == 3
    for index in range(3):
        info, plain = dataset.get_data_info(index), boxes.get_data_info(index)
        assert info.pop('flip_indices') == [0, 2, 1]
        wanted = expected[index + 1]
        assert len(info['instances']) == len(wanted) > 0
        for instance, joints in zip(info['instances'], wanted):
            points, visible = instance.pop('keypoints'), instance.pop('keypoints_visible')
            assert points.shape == (3, 2) and points.dtype == visible.dtype == np.float32
            assert [[*point, flag] for point, flag in zip(points.tolist(), visible.tolist())
                    ] == joints
        assert info == plain
    posed = sum(any(flag for _, _, flag in joints)
                for found in expected.values() for joints in found)
    assert (f"34 boxes. Objects with labeled keypoints: {posed} of 34 'figure' (3 keypoints, 1 "
            'pairs of left and right). Boxes left out: 6 with') in said[0]
    assert 'Noted' not in said[0]


def test_metainfo_is_the_skeleton_of_the_file(build):
    dataset = build(content([pose(1, GOOD)]), serialize_data=True)
    expected = parse_skeleton(category=dict(keypoints=NAMES, skeleton=[[1, 2]]))
    assert dataset.metainfo == dict(
        expected, classes=('figure', ), palette=CocoDataset.METAINFO['palette'],
        skeletons=dict(figure=expected))
    assert dataset.get_data_info(0)['flip_indices'] == [0, 2, 1]
    assert RepeatDataset(dataset, times=2).metainfo == dataset.metainfo
    both = ConcatDataset([dataset, build(content([pose(1, GOOD)]))])
    assert both.metainfo == dataset.metainfo and len(both) == 4
    # What a checkpoint stores is plain data.
    assert pickle.loads(pickle.dumps(dataset.metainfo)) == dataset.metainfo


def test_coco_needs_no_metainfo(build):
    category = dict(id=1, name='person', keypoints=COCO_NAMES, skeleton=[[16, 14]])
    joints = [value for index in range(17) for value in (index, index + 1, index % 3)]
    dataset = build(content([pose(1, joints)], categories=[category]), classes=None)
    assert dataset.metainfo == CocoPoseDataset.METAINFO
    assert {key: dataset.metainfo[key] for key in COCO_SKELETON} == COCO_SKELETON
    assert dataset.metainfo['palette'][0] == (220, 20, 60)
    points, visible = joints_of(dataset)
    assert points == [[[index, index + 1] for index in range(17)]]
    assert visible == [[index % 3 for index in range(17)]]


def test_skeleton_of_the_config(build):
    """As in MMPose's words, read from a config file."""
    config = Config(dict(metainfo=dict(
        keypoint_info=KEYPOINT_INFO, skeleton_info={0: dict(link=('head', 'right_hand'))},
        sigmas=[.1, .2, .3])))
    dataset = build(content([pose(1, GOOD)]), metainfo=config.metainfo)
    meta = dataset.metainfo
    assert meta['sigmas'] == [.1, .2, .3] and meta['skeleton_links'] == [(0, 2)]
    assert meta['keypoint_colors'][1] == (1, 2, 3)
    assert not {'keypoint_info', 'skeleton_info'} & meta.keys()
    # Before the file is read it is all there, too.
    assert build(content(), metainfo=config.metainfo, lazy_init=True).metainfo == meta
    # Without links of its own the config leaves them to the file.
    dataset = build(content([pose(1, GOOD)]), metainfo=dict(keypoint_info=KEYPOINT_INFO))
    assert dataset.metainfo['skeleton_links'] == [(0, 1)]
    assert dataset.metainfo['keypoint_colors'][1] == (1, 2, 3)


def test_parts_of_the_skeleton_in_the_config(build):
    dataset = build(content([pose(1, GOOD)]), metainfo=dict(
        sigmas=[.1, .2, .3], flip_pairs=[('head', 'left_hand')]))
    assert dataset.metainfo['sigmas'] == [.1, .2, .3]
    assert dataset.metainfo['flip_indices'] == dataset.get_data_info(0)['flip_indices'] == [
        1, 0, 2]
    assert dataset.metainfo['skeleton_links'] == [(0, 1)]
    with pytest.raises(UserError, match='metainfo.sigmas is .*3 keypoints'):
        build(content([pose(1, GOOD)]), metainfo=dict(sigmas=[1, 2]))


def test_subclass_with_a_skeleton(build):
    class Figures(CocoPoseDataset):
        METAINFO = dict(classes=('figure', ), keypoint_info=KEYPOINT_INFO)

    for lazy in (True, False):
        dataset = build(content([pose(1, GOOD)]), classes=None, kind=Figures, lazy_init=lazy)
        assert dataset.metainfo['keypoint_colors'][1] == (1, 2, 3)
        assert 'keypoint_info' not in dataset.metainfo


@pytest.mark.parametrize('classes, metainfo, keys', [
    (None, {}, 'all'), (['person'], {}, 'all'), (('figure', ), {}, ()),
    (None, dict(sigmas=[1, 2, 3]), ('sigmas', ))])
def test_what_is_known_without_the_file(build, classes, metainfo, keys):
    """COCO's skeleton belongs to COCO's person only."""
    known = build({}, classes, metainfo=metainfo, lazy_init=True).metainfo
    assert {key for key in COCO_SKELETON if key in known} == set(
        COCO_SKELETON if keys == 'all' else keys)
    assert known['classes'] == (classes or ('person', ))


def test_person_of_ones_own(build):
    """The file's skeleton takes the place of COCO's."""
    categories = [dict(id=1, name='person', keypoints=NAMES)]
    dataset = build(content([pose(1, GOOD)], categories=categories), classes=None)
    assert dataset.metainfo['num_keypoints'] == 3 and dataset.metainfo['skeleton_links'] == []


def test_several_classes_share_a_skeleton(build):
    categories = [dict(id=4, name='cat', keypoints=NAMES), dict(id=2, name='car'),
                  dict(id=9, name='dog', keypoints=NAMES, skeleton=[[2, 3]])]
    data = content([pose(1, GOOD, category_id=9), pose(2, category_id=2),
                    pose(3, GOOD[::-1], category_id=4)], categories=categories)
    data['annotations'][2]['keypoints'] = [1, 1, 0] * 3
    dataset = build(data, classes=('cat', 'dog'))
    assert dataset.metainfo['num_keypoints'] == 3
    assert [instance['bbox_label'] for instance in dataset.get_data_info(0)['instances']] == [1, 0]
    assert joints_of(dataset)[1] == [[2, 1, 0], [0, 0, 0]]


DOG_NAMES = ['nose', 'tail', 'r_paw', 'l_paw', 'left_ear']
DOG = [1, 2, 2, 3, 4, 1, 5, 6, 2, 7, 8, 2, 9, 10, 1]
MIXED = [dict(id=7, name='car'), dict(id=3, name='cat', keypoints=NAMES, skeleton=[[1, 2]]),
         dict(id=5, name='dog', keypoints=DOG_NAMES, skeleton=[[1, 2], [5, 1]])]
CAT_SKELETON = parse_skeleton(category=MIXED[1])
DOG_SKELETON = parse_skeleton(category=MIXED[2])


def mixed(**changes):
    """Two skeletons and plain boxes; of each class an object without ``keypoints``."""
    annotations = [
        pose(1, category_id=7), pose(2, GOOD, category_id=3), pose(3, DOG, category_id=5),
        pose(4, category_id=3), pose(5, category_id=5, image_id=2),
        pose(6, [0] * 15, category_id=5, image_id=2)]
    return content(annotations, categories=[
        dict(category, **changes.get(category['name'], {})) for category in MIXED])


def test_mixed_classes_have_their_own_keypoints(build, said):
    dataset = build(mixed(), classes=('car', 'cat', 'dog'), serialize_data=True)
    meta = dataset.metainfo
    assert meta['skeletons'] == dict(cat=CAT_SKELETON, dog=DOG_SKELETON)
    # Beside them there is what is true of both.
    assert {key for key in COCO_SKELETON if key in meta} == {'num_keypoints'}
    assert meta['num_keypoints'] == 5
    info = dataset.get_data_info(0)
    assert [instance['bbox_label'] for instance in info['instances']] == [0, 1, 2, 1]
    points, visible = joints_of(dataset)
    cat = np.reshape([*GOOD, *[0] * 6], (5, 3))
    dog = np.reshape(DOG, (5, 3))
    nothing = np.zeros((5, 3))
    for row, expected in enumerate((nothing, cat, dog, nothing)):
        np.testing.assert_array_equal(points[row], expected[:, :2])
        np.testing.assert_array_equal(visible[row], expected[:, 2])
    np.testing.assert_array_equal(
        info['flip_indices'], [[0, 1, 2, 3, 4], [0, 2, 1, 3, 4], [0, 1, 3, 2, 4]])
    assert said[0].endswith(
        "6 boxes. Objects with labeled keypoints: 1 of 2 'cat' (3 keypoints, 1 pairs of left and "
        "right), 1 of 3 'dog' (5 keypoints, 1 pairs of left and right), none of ('car',), plain "
        'boxes. Noted: 2 without keypoints, taken as not labeled (annotation 4 of 1.png, '
        'annotation 5 of 2.png)')


def test_mixed_classes_with_one_skeleton_keep_its_keys(build):
    """As without the class of plain boxes."""
    data = content([pose(1, GOOD, category_id=3), pose(2, category_id=7)], categories=MIXED[:2])
    dataset = build(data, classes=('car', 'cat'))
    assert dataset.metainfo == dict(
        CAT_SKELETON, classes=('car', 'cat'), palette=CocoDataset.METAINFO['palette'],
        skeletons=dict(cat=CAT_SKELETON))
    assert dataset.get_data_info(0)['flip_indices'] == [0, 2, 1]
    assert joints_of(dataset)[1] == [[2, 1, 0], [0, 0, 0]]


def test_skeletons_that_differ_in_links_share_the_rest(build):
    categories = [MIXED[1], dict(id=9, name='lynx', keypoints=NAMES, skeleton=[[2, 3]])]
    dataset = build(content([pose(1, GOOD, category_id=3)], categories=categories),
                    classes=('cat', 'lynx'))
    assert set(COCO_SKELETON) - set(dataset.metainfo) == {'skeleton_links', 'skeleton_link_colors'}
    assert dataset.metainfo['skeletons']['lynx']['skeleton_links'] == [(1, 2)]
    assert dataset.get_data_info(0)['flip_indices'] == [0, 2, 1]


def test_skeletons_of_the_config(build):
    """Single classes' settings replace those for all."""
    config = Config(dict(metainfo=dict(sigmas=[.1, .2, .3], skeletons=dict(dog=dict(
        flip_pairs=[('nose', 'tail')], sigmas=[.4] * 5)))))
    meta = build(mixed(), ('car', 'cat', 'dog'), metainfo=config.metainfo).metainfo
    assert meta['skeletons']['cat'] == dict(CAT_SKELETON, sigmas=[.1, .2, .3])
    assert meta['skeletons']['dog']['sigmas'] == [.4] * 5
    assert meta['skeletons']['dog']['flip_pairs'] == [(0, 1)]
    assert 'sigmas' not in meta
    # Nothing is known of them before the file is read.
    known = build({}, ('car', 'cat', 'dog'), metainfo=config.metainfo, lazy_init=True).metainfo
    assert not {'skeletons', 'num_keypoints'} & known.keys()


def test_skeletons_of_the_config_name_the_keypoints(build):
    """Where the file does not."""
    skeletons = dict(dog=dict(keypoint_info=dict(enumerate(
        dict(name=name) for name in DOG_NAMES))))
    bare = mixed(dog=dict(keypoints=[], skeleton=[]))
    dataset = build(bare, ('car', 'cat', 'dog'), metainfo=dict(skeletons=skeletons))
    dog = dict(DOG_SKELETON, skeleton_links=[], skeleton_link_colors=[])
    assert dataset.metainfo['skeletons'] == dict(cat=CAT_SKELETON, dog=dog)
    known = build({}, ('car', 'cat', 'dog'), metainfo=dict(skeletons=skeletons), lazy_init=True)
    # Of the others the file may tell: nothing is said of any before it is read.
    assert not {'skeletons', 'num_keypoints'} & known.metainfo.keys()
    one = build({}, ('dog', ), metainfo=dict(skeletons=skeletons), lazy_init=True).metainfo
    assert one['skeletons'] == dict(dog=dog) and one['num_keypoints'] == 5
    # In a file without annotations, too, as COCO's test files are.
    for category in bare['categories']:
        category.pop('keypoints', None)
    tested = build(dict(bare, annotations=[]), ('car', 'cat', 'dog'), test_mode=True,
                   metainfo=dict(skeletons=skeletons))
    assert tested.metainfo['skeletons'] == dict(dog=dog)
    # A data set's own metainfo is as good as a config's.
    assert build(mixed(), None, metainfo=dict(dataset.metainfo)).metainfo == dict(
        dataset.metainfo, skeletons=dict(cat=CAT_SKELETON, dog=DOG_SKELETON))


def test_subclass_with_several_skeletons(build):
    class Animals(CocoPoseDataset):
        METAINFO = dict(classes=('car', 'cat', 'dog'), skeletons=dict(
            cat=dict(keypoint_info=dict(enumerate(dict(name=name) for name in NAMES)))))

    assert 'skeletons' not in build({}, None, Animals, lazy_init=True).metainfo
    assert list(build({}, ('cat', ), Animals, lazy_init=True).metainfo['skeletons']) == ['cat']
    assert list(build(mixed(), None, Animals).metainfo['skeletons']) == ['cat', 'dog']
    dogs = content([pose(1, DOG, category_id=5)], categories=MIXED[2:])
    assert list(build(dogs, ('dog', ), Animals).metainfo['skeletons']) == ['dog']


@pytest.mark.parametrize('skeletons, words', [
    (dict(cow=dict(sigmas=[1])), "names the class 'cow', which is none of metainfo.classes ('car"),
    (dict(cat=dict(sigma=[1] * 3)), "metainfo.skeletons['cat'] has 'sigma', which is none of ('k"),
    ([dict(name='cat')], 'write a dictionary from names of classes to skeletons'),
    (dict(cat=NAMES), 'write a dictionary from names of classes to skeletons'),
    (dict(cat=dict(sigmas=[1] * 5)), "metainfo.skeletons['cat'].sigmas is [1, 1, 1, 1, 1], but "
     'there are 3 keypoints'),
    (dict(cat=dict(keypoint_info={0: dict(name='head')})),
     "the keypoints of metainfo.skeletons['cat'].keypoint_info are ('head',), but those of"),
    (dict(cat=dict(flip_pairs=[('head', 'tail')])),
     "metainfo.skeletons['cat'].flip_pairs names the keypoint 'tail'"),
    (dict(cat=dict(skeleton_info={0: dict(link=['head', 'tail'])})),
     "metainfo.skeletons['cat'].skeleton_info names the keypoint 'tail'"),
    (dict(car=dict(sigmas=[1])), "category 'car' of "),
    (dict(car=dict(sigmas=[1])), "their names in metainfo.skeletons['car'].keypoint_info"),
])
def test_skeletons_of_no_use(build, skeletons, words):
    with pytest.raises(UserError) as error:
        build(mixed(), ('car', 'cat', 'dog'), metainfo=dict(skeletons=skeletons))
    assert words in str(error.value) and '\n' not in str(error.value)


def test_mixed_classes_of_no_use(build):
    classes = 'car', 'cat', 'dog'
    data = mixed()
    data['annotations'][1]['keypoints'] = DOG
    with pytest.raises(UserError, match='annotation 2 of 1.png in .* has 15 entries in its '
                                        'keypoints, but 3 keypoints need 9 numbers'):
        build(data, classes)
    data = mixed()
    data['annotations'][2]['keypoints'] = [*DOG[:9], 7, 8, 3, *DOG[12:]]
    with pytest.raises(UserError, match=r'keypoint l_paw of annotation 3 of 1.png in .* is \[7, '
                                        r'8, 3\] \(x, y, visibility\): it needs the visibility'):
        build(data, classes)
    data = mixed()
    data['annotations'][0]['keypoints'] = GOOD
    with pytest.raises(UserError, match="annotation 1 of 1.png in .*ann.json has keypoints, but "
                                        "its category 'car' lists none: give their names in the"):
        build(data, classes)
    # Some tools write zeros.
    data['annotations'][0]['keypoints'] = [0] * 9
    assert not np.any(joints_of(build(data, classes))[1][0])
    with pytest.raises(UserError, match="category 'car' of .*ann.json lists no keypoints"):
        build(mixed(), ('car', ))


def test_mixed_classes_without_poses_to_learn(build, said):
    data = mixed()
    del data['annotations'][1]
    build(data, ('car', 'cat', 'dog'))
    assert "0 of 1 'cat' (3 keypoints, 1 pairs of left and right) (no pose can be lea" in said[0]
    assert said[0].count('no pose') == 1
    build(data, ('car', 'cat', 'dog'), test_mode=True)
    assert "0 of 1 'cat'" in said[1] and 'no pose' not in said[1]


CROWD = pose(7, [0] * 9, iscrowd=1)


@pytest.mark.parametrize('options, flags', [
    ({}, [0, 0]), (dict(crowd_as_objects=False), [0, 1]), (dict(test_mode=True), [0, 1])])
def test_crowds_are_objects_as_in_the_original(build, options, flags):
    dataset = build(content([pose(1, GOOD), CROWD]), **options)
    assert [instance['ignore_flag'] for instance in dataset.get_data_info(0)['instances']] == flags
    assert joints_of(dataset)[1] == [[2, 1, 0], [0, 0, 0]]


def test_people_without_joints_stay(build, said):
    data = content([pose(1, [0] * 9), pose(2, image_id=2), pose(3, GOOD), pose(4, [], image_id=2),
                    pose(5, image_id=2, keypoints=None, bbox=[1, 1, 0, 0])], images=3)
    dataset = build(data, filter_cfg=dict(filter_empty_gt=True))
    assert len(dataset) == 2
    assert joints_of(dataset, 1) == ([[[0, 0]] * 3] * 2, [[0] * 3] * 2)
    assert "4 boxes. Objects with labeled keypoints: 1 of 4 'figure' (3 keypoints" in said[0]
    assert said[0].endswith('Noted: 2 without keypoints, taken as not labeled (annotation 2 of '
                            '2.png, annotation 4 of 2.png)')


def test_no_pose_to_learn(build, said):
    build(content([pose(1, [0] * 9)]))
    assert ("0 of 1 'figure' (3 keypoints, 1 pairs of left and right) (no pose can be learned "
            'from them)') in said[0]
    build(content([pose(1, [0] * 9)]), test_mode=True)
    assert 'no pose' not in said[1]


def test_joints_outside_the_image(build, said):
    """Labeled ones count as not labeled in training; the border still belongs to it."""
    keypoints = [-1, 5, 2, 60, 40, 1, 5, 40.5, 1]
    data = content([pose(1, keypoints), pose(2, [0, 0, 2, 60.5, 9, 2, 99, 99, 0])])
    dataset = build(data)
    assert joints_of(dataset) == (
        [[[-1, 5], [60, 40], [5, 40.5]], [[0, 0], [60.5, 9], [99, 99]]], [[0, 1, 0], [2, 0, 0]])
    assert said[0].endswith(
        'Noted: 3 labeled outside the image, taken as not labeled (head of annotation 1 of '
        '1.png, right_hand of annotation 1 of 1.png, left_hand of annotation 2 of 1.png)')
    assert joints_of(build(data, test_mode=True))[1] == [[2, 1, 1], [2, 2, 0]]
    assert 'Noted' not in said[1]


def test_contradicting_num_keypoints(build, said):
    build(content([pose(1, GOOD, num_keypoints=3), pose(2, GOOD, num_keypoints=2),
                   pose(3, GOOD, num_keypoints=None), pose(4, GOOD, num_keypoints='2')]))
    assert said[0].endswith(
        'Noted: 2 with a num_keypoints that is not the number of labeled keypoints (annotation 1 '
        'of 1.png, annotation 4 of 1.png)')


@pytest.mark.parametrize('keypoints, words', [
    (GOOD[:6], 'has 6 entries in its keypoints, but 3 keypoints need 9 numbers (x, y, visibility '
     'of'),
    (GOOD + [1], 'has 10 entries'),
    ([GOOD[:3], GOOD[3:6], GOOD[6:]], 'has 3 entries'),
    ([GOOD[:3], 5], 'has 2 entries'),
    (['1', *GOOD[1:]], 'has 9 entries'),
    ([None, *GOOD[1:]], 'has 9 entries'),
    ('joints', 'has 6 entries'),
    (5, 'has 5 in its keypoints'),
    ([*GOOD[:3], NAN, *GOOD[4:]], 'keypoint left_hand of annotation 3 of 2.png in '),
    ([*GOOD[:3], NAN, *GOOD[4:]], 'is [nan, 6, 1] (x, y, visibility): it must be finite numbers'),
    ([*GOOD[:7], INF, 0], 'is [0, inf, 0] (x, y, visibility): it must be finite numbers'),
    ([*GOOD[:8], 3], 'keypoint right_hand of annotation 3 of 2.png in'),
    ([*GOOD[:8], 3], 'is [0, 0, 3] (x, y, visibility): it needs the visibility 0 (not labeled), '
     '1 (hidden) or 2 (visible)'),
    ([*GOOD[:8], -1], 'is [0, 0, -1]'),
    ([*GOOD[:8], .5], 'is [0, 0, 0.5]'),
    ([*GOOD[:8], NAN], 'is [0, 0, nan] (x, y, visibility): it needs the visibility'),
])
@pytest.mark.parametrize('test_mode', [False, True])
def test_joints_of_no_use(build, keypoints, words, test_mode):
    bad = dict(pose(3, image_id=2), keypoints=keypoints)
    with pytest.raises(UserError) as error:
        build(content([pose(1, GOOD), bad]), test_mode=test_mode)
    text = str(error.value)
    assert words in text and 'annotation 3 of 2.png in ' in text and 'ann.json' in text
    assert '\n' not in text
    # It does not matter in an annotation that is left out.
    build(content([pose(1, GOOD), dict(bad, bbox=[1, 1, 0, 3])]), test_mode=test_mode)


BARE = [dict(id=1, name='person')]


def test_file_without_joints(build):
    """Such as instances_train2017.json."""
    for classes in (None, ('person', )):
        with pytest.raises(UserError, match=(
                "category 'person' of .*ann.json lists no keypoints: give a file with keypoints "
                r"\(COCO's are person_keypoints_\*.json, not instances_")):
            build(content([pose(1)], categories=BARE), classes)
    with pytest.raises(UserError, match='lists no keypoints'):
        build(content(categories=BARE), ('person', ))
    named = dict(keypoint_info=KEYPOINT_INFO)
    with pytest.raises(UserError, match='lists no keypoints'):
        build(content([pose(1)], categories=BARE), ('person', ), metainfo=named)
    with pytest.raises(UserError, match='lists no keypoints'):
        build(content([pose(1, GOOD)], categories=BARE), ('person', ))
    # Names in the config are as good.
    dataset = build(content([pose(1, GOOD)], categories=BARE), ('person', ), metainfo=named)
    assert joints_of(dataset)[1] == [[2, 1, 0]]


def test_unlabelled_test_file(build):
    """COCO's image_info_test-dev2017.json has neither annotations nor names of joints."""
    data = content(categories=BARE + [dict(id=2, name='car')])
    del data['annotations']
    dataset = build(data, None, test_mode=True)
    assert len(dataset) == 2 and dataset.metainfo == CocoPoseDataset.METAINFO
    dataset = build(data, ('car', ), test_mode=True, metainfo=dict(keypoint_info=KEYPOINT_INFO))
    assert dataset.metainfo['num_keypoints'] == 3
    with pytest.raises(UserError, match="category 'car' of .* lists no keypoints"):
        build(data, ('car', ), test_mode=True)


def test_config_and_file_differ(build):
    other = {0: KEYPOINT_INFO[0], 1: KEYPOINT_INFO[2], 2: KEYPOINT_INFO[1]}
    with pytest.raises(UserError, match=(
            r"keypoints of metainfo.keypoint_info are \('head', 'right_hand', 'left_hand'\), but "
            r"those of category 'figure' in .*ann.json are \('head', 'left_hand', 'right_hand'\)"
            ': give them in the order of the file')):
        build(content([pose(1, GOOD)]), metainfo=dict(keypoint_info=other))


def test_classes_that_are_not_the_files(build):
    with pytest.raises(UserError, match=(
            r"are \('figure',\) in .*ann.json, but metainfo.classes are \('person',\): none")):
        build(content([pose(1, GOOD)]), classes=None)


def test_samples_through_the_pipeline(build, tmp_path):
    """From the file into what a model is trained on; objects without joints as well."""
    (tmp_path / 'img').mkdir()
    for index in range(3):
        cv2.imwrite(str(tmp_path / f'img/{index + 1}.png'),
                    np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    dataset = build(
        content([pose(1, GOOD), CROWD, pose(2, [0] * 9, image_id=2)], images=3),
        serialize_data=True, pipeline=[
            dict(type='mmdet_centernet.LoadImage'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet_centernet.LoadKeypoints'),
            dict(type='mmdet_centernet.CenterResize', size=(2 * WIDTH, 2 * HEIGHT)),
            dict(type='mmdet_centernet.PackPoseInputs', meta_keys=('img_path', ))])
    for index, visible in enumerate([[[2, 1, 0], [0, 0, 0]], [[0, 0, 0]], []]):
        sample = dataset[index]['data_samples']
        found = sample.gt_instances
        assert found.keypoints.shape == (len(visible), 3, 2)
        assert found.keypoints_visible.tolist() == visible
        assert sample.homography_matrix[0, 0] == 2
    assert dataset[0]['data_samples'].gt_instances.keypoints[0].tolist() == [
        [20, 24], [10, 12], [0, 0]]
