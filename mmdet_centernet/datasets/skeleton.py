"""Skeletons: names, mirror pairs, links, colours and tolerances of a data set's joints."""
import math
import re
from collections.abc import Mapping

from mmdet_centernet.datasets.checks import is_number, list_names
from mmdet_centernet.errors import UserError

# RGB: what a left and a right joint and what lies between them are painted with.
LEFT, RIGHT, MIDDLE = (0, 255, 0), (255, 128, 0), (51, 153, 255)

# COCO's person: name, colour, and the sigma of its object keypoint similarity (OKS).
COCO_JOINTS = (
    ('nose', MIDDLE, 0.026),
    ('left_eye', MIDDLE, 0.025),
    ('right_eye', MIDDLE, 0.025),
    ('left_ear', MIDDLE, 0.035),
    ('right_ear', MIDDLE, 0.035),
    ('left_shoulder', LEFT, 0.079),
    ('right_shoulder', RIGHT, 0.079),
    ('left_elbow', LEFT, 0.072),
    ('right_elbow', RIGHT, 0.072),
    ('left_wrist', LEFT, 0.062),
    ('right_wrist', RIGHT, 0.062),
    ('left_hip', LEFT, 0.107),
    ('right_hip', RIGHT, 0.107),
    ('left_knee', LEFT, 0.087),
    ('right_knee', RIGHT, 0.087),
    ('left_ankle', LEFT, 0.089),
    ('right_ankle', RIGHT, 0.089),
)
COCO_LINKS = (
    ('left_ankle', 'left_knee', LEFT),
    ('left_knee', 'left_hip', LEFT),
    ('right_ankle', 'right_knee', RIGHT),
    ('right_knee', 'right_hip', RIGHT),
    ('left_hip', 'right_hip', MIDDLE),
    ('left_shoulder', 'left_hip', MIDDLE),
    ('right_shoulder', 'right_hip', MIDDLE),
    ('left_shoulder', 'right_shoulder', MIDDLE),
    ('left_shoulder', 'left_elbow', LEFT),
    ('right_shoulder', 'right_elbow', RIGHT),
    ('left_elbow', 'left_wrist', LEFT),
    ('right_elbow', 'right_wrist', RIGHT),
    ('left_eye', 'right_eye', MIDDLE),
    ('nose', 'left_eye', MIDDLE),
    ('nose', 'right_eye', MIDDLE),
    ('left_eye', 'left_ear', MIDDLE),
    ('right_eye', 'right_ear', MIDDLE),
    ('left_ear', 'left_shoulder', MIDDLE),
    ('right_ear', 'right_shoulder', MIDDLE),
)
COCO_NAMES = [name for name, _, _ in COCO_JOINTS]
COCO_SIGMAS = [sigma for _, _, sigma in COCO_JOINTS]
# The sigma of joints that nobody gives one: the mean of COCO's.
DEFAULT_SIGMA = math.fsum(COCO_SIGMAS) / len(COCO_SIGMAS)

# What errors call the parts of a config.
KEYPOINT_INFO, SKELETON_INFO = 'metainfo.keypoint_info', 'metainfo.skeleton_info'
# Words of a joint's name that say on which side it is.
MIRRORED = dict(left='right', right='left', l='r', r='l')


def parse_skeleton(keypoint_info=None, skeleton_info=None, flip_pairs=None, sigmas=None,
                   category=None, source='the annotation file'):
    """Put together what a config and an annotation file say of a skeleton, and check it.

    The names come from ``keypoint_info``, else from ``category``. What is not given of the
    rest is COCO's if the names are COCO's; otherwise mirror pairs are read from the names
    (equal but for words ``left``/``right`` or ``l``/``r``), links from ``category``, the
    first joint of a pair has the colour of the left, the second that of the right, and every
    sigma is the mean of COCO's.

    Args:
        keypoint_info (dict, optional): MMPose's: id -> ``dict(name=..., swap=..., color=...)``,
            ids from 0. ``swap`` names the joint on the other side, '' says that there is
            none; where no joint has the key, pairs are found as above. ``color`` is RGB.
        skeleton_info (dict, optional): MMPose's: id -> ``dict(link=(name, name), color=...)``.
        flip_pairs (list[tuple], optional): pairs of names or ids, instead of ``swap``.
        sigmas (list[float], optional): of the OKS, one per joint.
        category (dict, optional): one of a COCO file: ``keypoints`` (names) and perhaps
            ``skeleton`` (links by place, counted from 1).
        source (str): what errors call the category.

    Returns:
        dict: plain data: ``num_keypoints`` (int), ``keypoint_id2name``, ``keypoint_name2id``,
        ``flip_pairs`` (list of (id, id)), ``flip_indices`` (list of ids: where each joint is
        after mirroring), ``keypoint_colors`` (RGB), ``skeleton_links`` (list of (id, id)),
        ``skeleton_link_colors`` (RGB), ``sigmas``.

    Raises:
        UserError: if there are no names, or parts do not fit together.
    """
    joints = names = None
    if category is not None or keypoint_info is None:
        names = _check_names((category or {}).get('keypoints'), source)
    if keypoint_info is not None:
        joints = _by_id(keypoint_info, KEYPOINT_INFO)
        in_file = names
        names = _check_names([joint.get('name') for joint in joints], KEYPOINT_INFO)
        if in_file not in (None, names):
            raise UserError(
                f'the joints of {KEYPOINT_INFO} are {list_names(names)}, but those of {source} '
                f'are {list_names(in_file)}: give them in the order of the file, or leave '
                'keypoint_info out')
    pairs = _pairs(names, joints, flip_pairs)
    indices = list(range(len(names)))
    for first, second in pairs:
        indices[first], indices[second] = second, first
    colors = _colors(names, pairs, joints)
    links, link_colors = _links(names, colors, skeleton_info, category, source)
    return dict(
        num_keypoints=len(names),
        keypoint_id2name=dict(enumerate(names)),
        keypoint_name2id={name: index for index, name in enumerate(names)},
        flip_pairs=pairs,
        flip_indices=indices,
        keypoint_colors=colors,
        skeleton_links=links,
        skeleton_link_colors=link_colors,
        sigmas=_sigmas(names, sigmas))


def _by_id(info, where):
    """Return the values of a dictionary whose keys are 0, 1, 2, ..., in that order."""
    if not isinstance(info, Mapping) or not all(
            isinstance(item, Mapping) for item in info.values()):
        raise UserError(f'{where} must be {{0: dict(...), 1: dict(...), ...}}')
    ids = {str(key): item for key, item in info.items()}
    missing = [index for index in range(len(ids)) if str(index) not in ids]
    if missing:
        raise UserError(
            f'{where} has {len(ids)} entries but none with the id {missing[0]}: number them '
            f'from 0 to {len(ids) - 1}')
    return [ids[str(index)] for index in range(len(ids))]


def _check_names(names, where):
    if not isinstance(names, (list, tuple)) or not names or not all(
            isinstance(name, str) and name for name in names):
        raise UserError(
            f'the joints of {where} are {names!r}: a list with a name for each is needed')
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise UserError(f'{where} has two joints named {twice[0]!r}: rename one')
    return list(names)


def _joint(joint, names, where):
    """Return the id of a joint given by its name or its id."""
    if isinstance(joint, int):
        if not 0 <= joint < len(names):
            raise UserError(
                f'{where} names joint {joint}, but ids go from 0 to {len(names) - 1}')
        return joint
    if joint not in names:
        raise UserError(
            f'{where} names the joint {joint!r}, which is none of {list_names(names)}')
    return names.index(joint)


def _is_pair(value):
    return isinstance(value, (list, tuple)) and len(value) == 2


def _pairs(names, joints, flip_pairs):
    """Return the mirror pairs as (id, id), each once, the lower id first."""
    if any('swap' in joint for joint in joints or ()):
        if flip_pairs is not None:
            raise UserError('metainfo gives both flip_pairs and swap: leave one of them out')
        swaps = _swaps_of_joints(names, joints)
    elif flip_pairs is not None:
        swaps = _swaps_of_pairs(names, flip_pairs)
    else:
        places = {name.lower(): index for index, name in enumerate(names)}
        found = {index: places.get(_mirrored(name)) for index, name in enumerate(names)}
        swaps = {index: other for index, other in found.items() if found.get(other) == index}
    return [(first, second) for first, second in sorted(swaps.items()) if first < second]


def _swaps_of_joints(names, joints):
    """Return id -> id by what each joint calls its ``swap``."""
    where = [f'swap of joint {name!r} in {KEYPOINT_INFO}' for name in names]
    swaps = {index: _joint(joint['swap'], names, where[index])
             for index, joint in enumerate(joints) if joint.get('swap', '') != ''}
    for first, second in swaps.items():
        if first == second:
            raise UserError(
                f'{where[first]} is that joint itself: name the one on the other side, or '
                "write swap=''")
        if swaps.get(second) != first:
            back = names[swaps[second]] if second in swaps else ''
            raise UserError(
                f'{where[first]} is {names[second]!r}, but that of {names[second]!r} is '
                f'{back!r}: each must name the other')
    return swaps


def _swaps_of_pairs(names, flip_pairs):
    """Return id -> id by pairs of names or ids."""
    swaps = {}
    for pair in flip_pairs:
        if not _is_pair(pair):
            raise UserError(f'{pair!r} in metainfo.flip_pairs is no pair of joints')
        first, second = (_joint(joint, names, 'metainfo.flip_pairs') for joint in pair)
        if first == second:
            raise UserError(
                f'metainfo.flip_pairs swaps joint {names[first]!r} with itself: leave out '
                'joints that stay what they are')
        for joint in (first, second):
            if joint in swaps:
                raise UserError(
                    f'joint {names[joint]!r} is in two of metainfo.flip_pairs: it can be '
                    'swapped with one other only')
        swaps[first], swaps[second] = second, first
    return swaps


def _mirrored(name):
    """The name, in lower case, with its words of left and right exchanged."""
    words = re.split(r'([^a-z0-9]+)', name.lower())
    return ''.join(MIRRORED.get(word, word) for word in words)


def _colors(names, pairs, joints):
    """Return one colour per joint."""
    if names == COCO_NAMES:
        colors = [color for _, color, _ in COCO_JOINTS]
    else:
        colors = [MIDDLE] * len(names)
        for first, second in pairs:
            colors[first], colors[second] = LEFT, RIGHT
    if joints is None:
        return colors
    return [_color(joint, color, f'joint {name!r} in {KEYPOINT_INFO}')
            for name, joint, color in zip(names, joints, colors)]


def _links(names, joint_colors, skeleton_info, category, source):
    """Return the links as (id, id), and their colours: the one joint's, if the
    other is of the middle or of the same colour, or the middle's."""
    if skeleton_info is not None:
        items = _by_id(skeleton_info, SKELETON_INFO)
    elif names == COCO_NAMES:
        items = [dict(link=(first, second), color=color) for first, second, color in COCO_LINKS]
    else:
        items = [dict(link=link) for link in _links_of(category, names, source)]
    links, colors = [], []
    for item in items:
        pair = item.get('link')
        if not _is_pair(pair):
            raise UserError(f'the link {pair!r} in {SKELETON_INFO} is no pair of joints')
        first, second = (_joint(joint, names, SKELETON_INFO) for joint in pair)
        links.append((first, second))
        # An arm is its hand's, though it begins in the middle; what joins both sides is neither's.
        sides = {joint_colors[first], joint_colors[second]} - {MIDDLE}
        colors.append(_color(item, sides.pop() if len(sides) == 1 else MIDDLE,
                             f'the link {tuple(pair)} in {SKELETON_INFO}'))
    return links, colors


def _links_of(category, names, source):
    """Return the links of a COCO file's category as (id, id)."""
    links = (category or {}).get('skeleton') or []
    for link in links:
        if not _is_pair(link) or not all(joint in range(1, len(names) + 1) for joint in link):
            raise UserError(
                f'the link {link!r} in the skeleton of {source} is no pair of its joints, '
                f'which are counted from 1 to {len(names)}')
    return [(int(first) - 1, int(second) - 1) for first, second in links]


def _color(item, default, where):
    color = item.get('color', default)
    if not isinstance(color, (list, tuple)) or len(color) != 3 or not all(
            isinstance(value, int) and 0 <= value <= 255 for value in color):
        raise UserError(
            f'the colour of {where} is {color!r}: write [red, green, blue], each from 0 to 255')
    return tuple(color)


def _sigmas(names, sigmas):
    if sigmas is None:
        return list(COCO_SIGMAS) if names == COCO_NAMES else [DEFAULT_SIGMA] * len(names)
    if not isinstance(sigmas, (list, tuple)) or len(sigmas) != len(names):
        raise UserError(
            f'metainfo.sigmas is {sigmas!r}, but there are {len(names)} joints: give one '
            'number for each, or leave sigmas out')
    for name, sigma in zip(names, sigmas):
        if not is_number(sigma) or sigma <= 0:
            raise UserError(
                f'metainfo.sigmas has {sigma!r} for joint {name!r}: it must be positive')
    return [float(sigma) for sigma in sigmas]


# COCO's own, as parse_skeleton returns it.
COCO_SKELETON = parse_skeleton(category=dict(keypoints=COCO_NAMES))
