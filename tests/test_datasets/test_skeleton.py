"""Skeletons as people write them: right, and in every wrong way."""
import pytest

from mmdet_centernet.datasets.skeleton import (
    COCO_SKELETON,
    DEFAULT_SIGMA,
    LEFT,
    MIDDLE,
    RIGHT,
    parse_skeleton,
)
from mmdet_centernet.errors import UserError

# As in person_keypoints_*.json.
COCO_CATEGORY = dict(
    keypoints=['nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder',
               'right_shoulder', 'left_elbow', 'right_elbow', 'left_wrist', 'right_wrist',
               'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle', 'right_ankle'],
    skeleton=[[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8],
              [7, 9], [8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]])
NAMES = ['head', 'l_hand', 'r_hand', 'tail']


def info(*keypoints):
    return {index: dict(keypoint, id=index) for index, keypoint in enumerate(keypoints)}


def named(**more):
    return info(*(dict(name=name, **{key: values[index] for key, values in more.items()})
                  for index, name in enumerate(NAMES)))


def test_coco():
    assert parse_skeleton(category=COCO_CATEGORY) == COCO_SKELETON
    assert COCO_SKELETON['num_keypoints'] == 17
    # The original's pairs.
    assert COCO_SKELETON['flip_pairs'] == [
        (1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)]
    assert COCO_SKELETON['flip_indices'] == [0] + [
        index for pair in range(1, 17, 2) for index in (pair + 1, pair)]
    assert COCO_SKELETON['skeleton_links'] == [
        (a - 1, b - 1) for a, b in COCO_CATEGORY['skeleton']]
    # pycocotools' ten times this: .26 .25 .25 .35 ...
    assert COCO_SKELETON['sigmas'] == [
        .026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087,
        .089, .089]
    assert len(COCO_SKELETON['skeleton_link_colors']) == 19
    for name, index in COCO_SKELETON['keypoint_name2id'].items():
        assert COCO_SKELETON['keypoint_id2name'][index] == name
        color = COCO_SKELETON['keypoint_colors'][index]
        side = MIDDLE if index < 5 else LEFT if name.startswith('left') else RIGHT
        assert color == side


def test_coco_by_names_alone_and_in_other_order():
    """The names decide: another order is another skeleton, and keeps its own links."""
    by_info = info(*(dict(name=name) for name in COCO_CATEGORY['keypoints']))
    assert parse_skeleton(keypoint_info=by_info) == COCO_SKELETON
    turned = parse_skeleton(category=dict(keypoints=COCO_CATEGORY['keypoints'][::-1]))
    assert turned['skeleton_links'] == [] and set(turned['sigmas']) == {DEFAULT_SIGMA}
    assert turned['flip_pairs'] == [(index, index + 1) for index in range(0, 16, 2)]


def test_own_skeleton_of_a_file():
    skeleton = parse_skeleton(category=dict(keypoints=NAMES, skeleton=[[1, 2], [1, 3], [2, 2]]))
    assert skeleton == dict(
        num_keypoints=4, keypoint_id2name=dict(enumerate(NAMES)),
        keypoint_name2id=dict(head=0, l_hand=1, r_hand=2, tail=3), flip_pairs=[(1, 2)],
        flip_indices=[0, 2, 1, 3], keypoint_colors=[MIDDLE, LEFT, RIGHT, MIDDLE],
        skeleton_links=[(0, 1), (0, 2), (1, 1)], skeleton_link_colors=[LEFT, RIGHT, LEFT],
        sigmas=[DEFAULT_SIGMA] * 4)
    assert round(DEFAULT_SIGMA, 4) == 0.0669


@pytest.mark.parametrize('names, pairs', [
    (['left_eye', 'right_eye'], [(0, 1)]),
    (['Right Eye', 'nose', 'Left Eye'], [(0, 2)]),
    (['L_F_Paw', 'R_F_Paw', 'L_B_Paw', 'R_B_Paw'], [(0, 1), (2, 3)]),
    (['rear-left', 'front-left', 'front-right', 'rear-right'], [(0, 3), (1, 2)]),
    (['left', 'right'], [(0, 1)]),
    (['left_eye', 'nose'], []),
    (['lefteye', 'righteye'], []),
    (['a', 'A'], []),
    (['left_eye', 'right_eye', 'Left_eye'], [(1, 2)])])
def test_pairs_from_names(names, pairs):
    assert parse_skeleton(category=dict(keypoints=names))['flip_pairs'] == pairs


def test_words_of_mmpose():
    skeleton = parse_skeleton(
        keypoint_info=info(
            dict(name='top', color=[1, 2, 3], type='upper', swap=''),
            dict(name='east', swap='west'), dict(name='west', swap='east', color=(4, 5, 6)),
            dict(name='left_x', swap=''), dict(name='right_x')),
        skeleton_info={1: dict(link=('west', 'east'), id=1),
                       0: dict(link=('top', 'west'), id=0, color=[9, 8, 7]),
                       2: dict(link=[0, 'left_x'])},
        sigmas=[.1, .2, 1, .4, .5])
    assert skeleton['flip_pairs'] == [(1, 2)]
    assert skeleton['flip_indices'] == [0, 2, 1, 3, 4]
    assert skeleton['keypoint_colors'] == [(1, 2, 3), LEFT, (4, 5, 6), MIDDLE, MIDDLE]
    assert skeleton['skeleton_links'] == [(0, 2), (2, 1), (0, 3)]
    assert skeleton['skeleton_link_colors'] == [(9, 8, 7), MIDDLE, (1, 2, 3)]
    assert skeleton['sigmas'] == [.1, .2, 1., .4, .5]
    # As a config that came from JSON has it.
    assert parse_skeleton({str(key): item for key, item in named().items()}) == parse_skeleton(
        named())


def test_config_beside_the_file():
    """What the config leaves out is the file's."""
    category = dict(keypoints=NAMES, skeleton=[[1, 4]])
    skeleton = parse_skeleton(keypoint_info=named(color=[[1, 1, 1]] * 4), category=category)
    assert skeleton['skeleton_links'] == [(0, 3)]
    assert skeleton['skeleton_link_colors'] == [(1, 1, 1)]
    skeleton = parse_skeleton(
        flip_pairs=[('tail', 0)], sigmas=[1, 2, 3, 4], category=category,
        skeleton_info={0: dict(link=('tail', 'l_hand'))})
    assert skeleton['flip_pairs'] == [(0, 3)] and skeleton['sigmas'] == [1, 2, 3, 4]
    assert skeleton['skeleton_links'] == [(3, 1)]


FILE = dict(category=dict(keypoints=NAMES), source='category x in a.json')


@pytest.mark.parametrize('options, words', [
    # Names
    (dict(), 'the keypoints of the annotation file are None'),
    (dict(keypoint_info={}), 'the keypoints of metainfo.keypoint_info are []'),
    (dict(category=dict(keypoints=[])), 'the keypoints of the annotation file are []: a list '
     'with'),
    (dict(category=dict(keypoints='head'), source='b.json'), "of b.json are 'head'"),
    (dict(category=dict(keypoints=['a', 3])), "are ['a', 3]"),
    (dict(category=dict(keypoints=['a', 'b', 'a'])), "has two keypoints named 'a'"),
    (dict(keypoint_info=info(dict(name='a'), dict())), "['a', None]"),
    (dict(keypoint_info=[dict(name='a')]), 'metainfo.keypoint_info must be {0: dict(...)'),
    (dict(keypoint_info={0: 'a'}), 'metainfo.keypoint_info must be {0: dict(...)'),
    (dict(keypoint_info={0: dict(name='a'), 2: dict(name='b')}),
     'metainfo.keypoint_info has 2 entries but none with the id 1: number them from 0 to 1'),
    (dict(FILE, keypoint_info=info(dict(name='a'))),
     "are ('a',), but those of category x in a.json are ('head', 'l_hand', 'r_hand', 'tail')"),
    (dict(keypoint_info=named(), category=dict(keypoints=NAMES[::-1])), 'in the order of the'),
    # Pairs
    (dict(keypoint_info=named(swap=['', 'r_hand', 'lhand', ''])),
     "swap of keypoint 'r_hand' in metainfo.keypoint_info names the keypoint 'lhand', which is "
     'none'),
    (dict(keypoint_info=named(swap=['', 'l_hand', '', ''])),
     "swap of keypoint 'l_hand' in metainfo.keypoint_info is that keypoint itself"),
    (dict(keypoint_info=named(swap=['', 'r_hand', '', ''])),
     "is 'r_hand', but that of 'r_hand' is '': each must name the other"),
    (dict(keypoint_info=named(swap=['r_hand', 'r_hand', 'head', ''])),
     "swap of keypoint 'l_hand' in metainfo.keypoint_info is 'r_hand', but that of 'r_hand' is "
     "'head'"),
    (dict(keypoint_info=named(swap=[''] * 4), flip_pairs=[]), 'both flip_pairs and swap'),
    (dict(FILE, flip_pairs=[(1, 4)]),
     'metainfo.flip_pairs names keypoint 4, but ids go from 0 to 3'),
    (dict(FILE, flip_pairs=[(-1, 2)]), 'names keypoint -1'),
    (dict(FILE, flip_pairs=[('head', 'foot')]), "flip_pairs names the keypoint 'foot', which is"),
    (dict(FILE, flip_pairs=[(1, 'l_hand')]), "swaps keypoint 'l_hand' with itself"),
    (dict(FILE, flip_pairs=[(1, 2), (2, 3)]),
     "keypoint 'r_hand' is in two of metainfo.flip_pairs"),
    (dict(FILE, flip_pairs=[(1, 2, 3)]), '(1, 2, 3) in metainfo.flip_pairs is not a pair'),
    (dict(FILE, flip_pairs=[3]), '3 in metainfo.flip_pairs is not a pair'),
    # Links
    (dict(FILE, skeleton_info={0: dict(link=('head', 'foot'))}),
     "metainfo.skeleton_info names the keypoint 'foot'"),
    (dict(FILE, skeleton_info={0: dict(link=('head', ))}), "the link ('head',) in metainfo.skele"),
    (dict(FILE, skeleton_info={0: dict()}), 'the link None in metainfo.skeleton_info'),
    (dict(FILE, skeleton_info={3: dict(link=('head', 'tail'))}), 'none with the id 0'),
    (dict(FILE, category=dict(keypoints=NAMES, skeleton=[[1, 2], [0, 3]])),
     'the link [0, 3] in the skeleton of category x in a.json is not a pair of its keypoints, '
     'which are counted from 1 to 4'),
    (dict(FILE, category=dict(keypoints=NAMES, skeleton=[[4, 5]])), 'the link [4, 5] in the'),
    (dict(FILE, category=dict(keypoints=NAMES, skeleton=[3])), 'the link 3 in the skeleton'),
    # Sigmas
    (dict(FILE, sigmas=[.1, .2]), 'metainfo.sigmas is [0.1, 0.2], but there are 4 keypoints'),
    (dict(FILE, sigmas=.1), 'metainfo.sigmas is 0.1, but there are 4'),
    (dict(FILE, sigmas=[.1, 0, .1, .1]), "metainfo.sigmas has 0 for keypoint 'l_hand'"),
    (dict(FILE, sigmas=[.1, .1, float('nan'), .1]), "has nan for keypoint 'r_hand'"),
    (dict(FILE, sigmas=[.1, .1, .1, '.1']), "has '.1' for keypoint 'tail'"),
    # Colors
    (dict(keypoint_info=named(color=['red'] * 4)),
     "the color of keypoint 'head' in metainfo.keypoint_info is 'red': write [red, green, blue]"),
    (dict(keypoint_info=named(color=[[0, 0, 256]] * 4)), 'is [0, 0, 256]'),
    (dict(keypoint_info=named(color=[[0, .5, 0]] * 4)), 'is [0, 0.5, 0]'),
    (dict(FILE, skeleton_info={0: dict(link=('head', 'tail'), color=[1, 2])}),
     "the color of the link ('head', 'tail') in metainfo.skeleton_info is [1, 2]"),
])
def test_what_does_not_fit_together(options, words):
    with pytest.raises(UserError) as error:
        parse_skeleton(**options)
    assert words in str(error.value) and '\n' not in str(error.value)
