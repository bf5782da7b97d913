"""Skeletons: names, flip pairs, links, colors and sigmas of a data set's keypoints."""
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from mmdet_centernet.datasets.checks import is_number, list_names
from mmdet_centernet.errors import UserError

Pairs = list[tuple[int, int]]
Color = tuple[int, int, int]
Skeleton = dict[str, Any]

# RGB colors of left and right keypoints, and of what lies between them.
LEFT, RIGHT, MIDDLE = (0, 255, 0), (255, 128, 0), (51, 153, 255)

# COCO's person: name, color, and the sigma of its object keypoint similarity (OKS).
COCO_KEYPOINTS = (
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
COCO_NAMES = [name for name, _, _ in COCO_KEYPOINTS]
COCO_SIGMAS = [sigma for _, _, sigma in COCO_KEYPOINTS]
# The sigma of keypoints that nobody gives one: the mean of COCO's.
DEFAULT_SIGMA = math.fsum(COCO_SIGMAS) / len(COCO_SIGMAS)

# What a config may say of a skeleton: arguments of parse_skeleton.
GIVEN_KEYS = ('keypoint_info', 'skeleton_info', 'flip_pairs', 'sigmas')
# Words of a keypoint's name that say on which side it is.
OPPOSITE = dict(left='right', right='left', l='r', r='l')


def parse_skeleton(
    keypoint_info: Mapping[Any, Any] | None = None,
    skeleton_info: Mapping[Any, Any] | None = None,
    flip_pairs: Sequence[Any] | None = None,
    sigmas: Sequence[float] | None = None,
    category: Mapping[str, Any] | None = None,
    source: str = 'the annotation file',
    setting: str = 'metainfo',
) -> Skeleton:
    """Combine what a config and an annotation file say of a skeleton, and check it.

    The names come from ``keypoint_info``, else from ``category``. What is not given of the
    rest is COCO's if the names are COCO's. Otherwise flip pairs are read from the names (equal
    but for the words ``left``/``right`` or ``l``/``r``), links from ``category``, the first
    keypoint of a pair has the color of the left, the second that of the right, and every sigma
    is the mean of COCO's.

    Args:
        keypoint_info (dict, optional): MMPose's: id -> ``dict(name=..., swap=..., color=...)``,
            ids from 0. ``swap`` names the keypoint on the other side, '' says that there is
            none; where no keypoint has the key, pairs are found as above. ``color`` is RGB.
        skeleton_info (dict, optional): MMPose's: id -> ``dict(link=(name, name), color=...)``.
        flip_pairs (list[tuple], optional): pairs of names or ids, instead of ``swap``.
        sigmas (list[float], optional): of the OKS, one per keypoint.
        category (dict, optional): of a COCO file: ``keypoints`` (names) and perhaps
            ``skeleton`` (links by place, counted from 1).
        source (str): what errors call the category.
        setting (str): what errors call the place in the config.

    Returns:
        dict: plain data: ``num_keypoints`` (int), ``keypoint_id2name``, ``keypoint_name2id``,
        ``flip_pairs`` (list of (id, id)), ``flip_indices`` (list of ids: the place of each
        keypoint in a flipped image), ``keypoint_colors`` (RGB), ``skeleton_links`` (list of
        (id, id)), ``skeleton_link_colors`` (RGB), ``sigmas``.

    Raises:
        UserError: if there are no names, or parts do not fit together.
    """
    where = f'{setting}.keypoint_info'
    infos = in_file = None
    if category is not None or keypoint_info is None:
        in_file = names = _check_names((category or {}).get('keypoints'), source)
    if keypoint_info is not None:
        infos = _by_id(keypoint_info, where)
        names = _check_names([info.get('name') for info in infos], where)
        if in_file not in (None, names):
            raise UserError(
                f'the keypoints of {where} are {list_names(names)}, but those of {source} are '
                f'{list_names(in_file)}: give them in the order of the file, or leave '
                'keypoint_info out')
    pairs = _find_pairs(names, infos, flip_pairs, setting)
    indices = list(range(len(names)))
    for first, second in pairs:
        indices[first], indices[second] = second, first
    colors = _choose_colors(names, pairs, infos, where)
    links, link_colors = _find_links(
        names, colors, skeleton_info, category, source, f'{setting}.skeleton_info')
    return dict(
        num_keypoints=len(names),
        keypoint_id2name=dict(enumerate(names)),
        keypoint_name2id={name: index for index, name in enumerate(names)},
        flip_pairs=pairs,
        flip_indices=indices,
        keypoint_colors=colors,
        skeleton_links=links,
        skeleton_link_colors=link_colors,
        sigmas=_check_sigmas(names, sigmas, f'{setting}.sigmas'))


def merge_skeletons(skeletons: Sequence[Skeleton]) -> Skeleton:
    """Return what holds for all skeletons: the entries in which they agree.

    ``num_keypoints`` is always there, and is the largest: the keypoints of every object are
    padded to as many.
    """
    if not skeletons:
        return {}
    first = skeletons[0]
    agreed = {key: first[key] for key in first
              if all(other[key] == first[key] for other in skeletons)}
    return dict(agreed, num_keypoints=max(each['num_keypoints'] for each in skeletons))


def pad_flip_indices(skeletons: Sequence[Skeleton | None]) -> list[list[int]]:
    """Return the places of keypoints in a flipped image for each class.

    Args:
        skeletons (Sequence[dict | None]): of C classes; None for a class without keypoints.

    Returns:
        list[list[int]]: C lists of K ids, K of the largest skeleton. Padding stays in place.
    """
    most = max((each['num_keypoints'] for each in skeletons if each), default=0)
    return [[*(each['flip_indices'] if each else ()),
             *range(each['num_keypoints'] if each else 0, most)] for each in skeletons]


def _by_id(info: Any, where: str) -> list[Mapping[str, Any]]:
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


def _check_names(names: Any, where: str) -> list[str]:
    if not isinstance(names, (list, tuple)) or not names or not all(
            isinstance(name, str) and name for name in names):
        raise UserError(
            f'the keypoints of {where} are {names!r}: a list with a name for each is needed')
    twice = [name for index, name in enumerate(names) if name in names[:index]]
    if twice:
        raise UserError(f'{where} has two keypoints named {twice[0]!r}: rename one')
    return list(names)


def _find_id(keypoint: int | str, names: list[str], where: str) -> int:
    """Return the id of a keypoint given by its name or its id."""
    if isinstance(keypoint, int):
        if not 0 <= keypoint < len(names):
            raise UserError(
                f'{where} names keypoint {keypoint}, but ids go from 0 to {len(names) - 1}')
        return keypoint
    if keypoint not in names:
        raise UserError(
            f'{where} names the keypoint {keypoint!r}, which is none of {list_names(names)}')
    return names.index(keypoint)


def _is_pair(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (list, tuple)) and len(value) == 2


def _find_pairs(
    names: list[str],
    infos: list[Mapping[str, Any]] | None,
    flip_pairs: Sequence[Any] | None,
    setting: str,
) -> Pairs:
    """Return the flip pairs as (id, id), each once, the lower id first."""
    if any('swap' in info for info in infos or ()):
        if flip_pairs is not None:
            raise UserError(f'{setting} gives both flip_pairs and swap: leave one of them out')
        swaps = _read_swaps(names, infos or [], f'{setting}.keypoint_info')
    elif flip_pairs is not None:
        swaps = _read_pairs(names, flip_pairs, f'{setting}.flip_pairs')
    else:
        places = {name.lower(): index for index, name in enumerate(names)}
        found = {index: places.get(_opposite(name)) for index, name in enumerate(names)}
        swaps = {index: other for index, other in found.items()
                 if other is not None and found.get(other) == index}
    return [(first, second) for first, second in sorted(swaps.items()) if first < second]


def _read_swaps(names: list[str], infos: list[Mapping[str, Any]], where: str) -> dict[int, int]:
    """Return id -> id by what each keypoint calls its ``swap``."""
    places = [f'swap of keypoint {name!r} in {where}' for name in names]
    swaps = {index: _find_id(info['swap'], names, places[index])
             for index, info in enumerate(infos) if info.get('swap', '') != ''}
    for first, second in swaps.items():
        if first == second:
            raise UserError(
                f'{places[first]} is that keypoint itself: name the one on the other side, or '
                "write swap=''")
        if swaps.get(second) != first:
            back = names[swaps[second]] if second in swaps else ''
            raise UserError(
                f'{places[first]} is {names[second]!r}, but that of {names[second]!r} is '
                f'{back!r}: each must name the other')
    return swaps


def _read_pairs(names: list[str], flip_pairs: Sequence[Any], where: str) -> dict[int, int]:
    """Return id -> id by pairs of names or ids."""
    swaps: dict[int, int] = {}
    for pair in flip_pairs:
        if not _is_pair(pair):
            raise UserError(f'{pair!r} in {where} is not a pair of keypoints')
        first, second = (_find_id(keypoint, names, where) for keypoint in pair)
        if first == second:
            raise UserError(
                f'{where} swaps keypoint {names[first]!r} with itself: leave out keypoints '
                'that have no counterpart')
        for keypoint in (first, second):
            if keypoint in swaps:
                raise UserError(
                    f'keypoint {names[keypoint]!r} is in two of {where}: it can be swapped '
                    'with one other only')
        swaps[first], swaps[second] = second, first
    return swaps


def _opposite(name: str) -> str:
    """Return the name, in lower case, with its words of left and right exchanged."""
    words = re.split(r'([^a-z0-9]+)', name.lower())
    return ''.join(OPPOSITE.get(word, word) for word in words)


def _choose_colors(
    names: list[str], pairs: Pairs, infos: list[Mapping[str, Any]] | None, where: str
) -> list[Color]:
    """Return one color per keypoint."""
    if names == COCO_NAMES:
        colors = [color for _, color, _ in COCO_KEYPOINTS]
    else:
        colors = [MIDDLE] * len(names)
        for first, second in pairs:
            colors[first], colors[second] = LEFT, RIGHT
    if infos is None:
        return colors
    return [_read_color(info, color, f'keypoint {name!r} in {where}')
            for name, info, color in zip(names, infos, colors, strict=True)]


def _find_links(
    names: list[str],
    colors: list[Color],
    skeleton_info: Mapping[Any, Any] | None,
    category: Mapping[str, Any] | None,
    source: str,
    where: str,
) -> tuple[Pairs, list[Color]]:
    """Return the links as (id, id), and their colors.

    A link has the color of one keypoint if the other is of the middle or of the same color,
    else the middle's.
    """
    if skeleton_info is not None:
        items: Sequence[Mapping[str, Any]] = _by_id(skeleton_info, where)
    elif names == COCO_NAMES:
        items = [dict(link=(first, second), color=color) for first, second, color in COCO_LINKS]
    else:
        items = [dict(link=link) for link in _read_links(category, names, source)]
    links, link_colors = [], []
    for item in items:
        pair = item.get('link')
        if not _is_pair(pair):
            raise UserError(f'the link {pair!r} in {where} is not a pair of keypoints')
        first, second = (_find_id(keypoint, names, where) for keypoint in pair)
        links.append((first, second))
        # An arm belongs to its hand's side though it begins in the middle. A link between both
        # sides belongs to neither.
        sides = {colors[first], colors[second]} - {MIDDLE}
        link_colors.append(_read_color(item, sides.pop() if len(sides) == 1 else MIDDLE,
                                       f'the link {tuple(pair)} in {where}'))
    return links, link_colors


def _read_links(category: Mapping[str, Any] | None, names: list[str], source: str) -> Pairs:
    """Return the links of a COCO file's category as (id, id)."""
    links = (category or {}).get('skeleton') or []
    for link in links:
        if not _is_pair(link) or not all(place in range(1, len(names) + 1) for place in link):
            raise UserError(
                f'the link {link!r} in the skeleton of {source} is not a pair of its '
                f'keypoints, which are counted from 1 to {len(names)}')
    return [(int(first) - 1, int(second) - 1) for first, second in links]


def _read_color(item: Mapping[str, Any], default: Color, where: str) -> Color:
    color = item.get('color', default)
    if not isinstance(color, (list, tuple)) or len(color) != 3 or not all(
            isinstance(value, int) and 0 <= value <= 255 for value in color):
        raise UserError(
            f'the color of {where} is {color!r}: write [red, green, blue], each from 0 to 255')
    return tuple(color)


def _check_sigmas(names: list[str], sigmas: Sequence[float] | None, where: str) -> list[float]:
    if sigmas is None:
        return list(COCO_SIGMAS) if names == COCO_NAMES else [DEFAULT_SIGMA] * len(names)
    if not isinstance(sigmas, (list, tuple)) or len(sigmas) != len(names):
        raise UserError(
            f'{where} is {sigmas!r}, but there are {len(names)} keypoints: give one number for '
            'each, or leave sigmas out')
    for name, sigma in zip(names, sigmas, strict=True):
        if not is_number(sigma) or sigma <= 0:
            raise UserError(f'{where} has {sigma!r} for keypoint {name!r}: it must be positive')
    return [float(sigma) for sigma in sigmas]


# COCO's own, as parse_skeleton returns it.
COCO_SKELETON = parse_skeleton(category=dict(keypoints=COCO_NAMES))
