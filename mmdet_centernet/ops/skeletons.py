"""Skeletons of classes, as a data set's metainfo describes them: plain data, no tensors.

Convention: flip pairs are pairs of keypoints that trade places in a flipped image, such as left
and right eye.
"""
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmdet_centernet.errors import UserError

Pairs = list[tuple[int, int]]


def swap_pairs(pairs: Iterable[Sequence[int]], num_keypoints: int) -> list[int]:
    """Return the index that each keypoint has in a flipped image.

    Raises:
        ValueError: if the pairs are not pairs of different keypoints, none of them twice.
    """
    indices = list(range(num_keypoints))
    paired = [keypoint for pair in pairs for keypoint in pair]
    if len(set(paired)) < len(paired) or not set(paired) <= set(indices):
        raise ValueError(
            f'flip_pairs = {pairs} must be pairs of different keypoints of {num_keypoints} '
            f'(0 to {num_keypoints - 1}), none of them twice.')
    for left, right in pairs:
        indices[left], indices[right] = right, left
    return indices


def are_same_pairs(first: Iterable[Sequence[int]], second: Iterable[Sequence[int]]) -> bool:
    """Check whether pairs are the same, in any order."""
    return set(map(frozenset, first)) == set(map(frozenset, second))


def find_labels(
    metainfo: Mapping[str, Any], classes: Sequence[str], owner: str
) -> tuple[int, ...]:
    """Return the labels of classes.

    Args:
        metainfo (Mapping): ``classes``, all names in the order of their labels.
        classes (Sequence[str]): names to look up.
        owner (str): name for errors of what asks for them.

    Raises:
        UserError: if there is no such class.
    """
    names = list(metainfo.get('classes') or ())
    for name in classes:
        if name not in names:
            raise UserError(
                f'{owner} names the class {name!r}, which the data set does not have: its classes '
                f'are {names}')
    return tuple(names.index(name) for name in classes)


def share_skeleton(
    metainfo: Mapping[str, Any], classes: Sequence[str] | None, owner: str
) -> tuple[int, Pairs | None] | None:
    """Return the number of keypoints and the flip pairs that classes share.

    Args:
        metainfo (Mapping): ``skeletons``, from names of classes to ``num_keypoints`` and
            ``flip_pairs``; or one skeleton for all without it.
        classes (Sequence[str], optional): names; None for all that have keypoints.
        owner (str): name for errors of what predicts the keypoints.

    Returns:
        tuple[int, list[tuple[int, int]] | None] | None: None if the data has no keypoints.

    Raises:
        UserError: if a class has no keypoints, or the classes' skeletons differ.
    """
    skeletons = metainfo.get('skeletons')
    if skeletons is None:
        skeletons = {'all': metainfo} if 'num_keypoints' in metainfo else {}
    elif classes is not None:
        for name in classes:
            if name not in skeletons:
                raise UserError(
                    f'{owner} is for the class {name!r}, which has no keypoints in the data set: '
                    f'those with keypoints are {list(skeletons)}')
        skeletons = {name: skeletons[name] for name in classes}
    if not skeletons:
        return None
    advice = ('compose mmdet_centernet.CenterHead with Keypoints for each skeleton, which have '
              'classes and names of their own')
    counts = {name: each['num_keypoints'] for name, each in skeletons.items()}
    if len(set(counts.values())) > 1:
        raise UserError('the classes of the data set have different numbers of keypoints, '
                        f'{counts}, but {owner} predicts the same number for all: {advice}')
    pairs = {name: [tuple(pair) for pair in each['flip_pairs']]
             for name, each in skeletons.items() if each.get('flip_pairs') is not None}
    shared = next(iter(pairs.values()), None)
    if any(not are_same_pairs(each, shared or ()) for each in pairs.values()):
        raise UserError('the classes of the data set have different pairs of left and right '
                        f'keypoints, {pairs}, but {owner} has one list for all: {advice}')
    return next(iter(counts.values())), shared
