"""KITTI's object evaluation: AP of 2D boxes, orientations, bird's-eye view boxes and 3D boxes.

The rules are those of the object development kit (``evaluate_object_3d.cpp``): which
objects count at each difficulty, which detections are ignored, two rounds of matching, precision
at 41 steps of recall. All images, score thresholds and objects are computed at once; only the
objects of one image are matched one after the other.
"""
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.kitti import KittiObjects
from mmdet_centernet.ops.boxes_numpy import (
    bev_overlaps,
    box_overlaps,
    ground_boxes,
    intersection_areas,
    overlaps_3d,
)

_Floats: TypeAlias = NDArray[np.float64]
_Ints: TypeAlias = NDArray[np.int64]
_Bools: TypeAlias = NDArray[np.bool_]
_Least: TypeAlias = dict[tuple[str, str], tuple[float, ...]]
# (class, level, kind of overlap, least overlap) -> precision and orientation similarity.
_Curves: TypeAlias = dict[tuple[str, int, str, float], tuple[_Floats, _Floats | None]]

DIFFICULTIES = ('easy', 'moderate', 'hard')
MIN_HEIGHT = (40, 25, 25)  # px in the image
MAX_OCCLUSION = (0, 1, 2)
MAX_TRUNCATION = (.15, .3, .5)
#: Types that count neither as found nor as missed when the class is evaluated.
NEIGHBORS: dict[str, tuple[str, ...]] = {'car': ('van', ), 'pedestrian': ('person_sitting', )}
REGION = 'dontcare'
#: Kinds of overlap. AOS weights the detections that are matched by their 2D boxes.
OVERLAPS = ('2d', 'bev', '3d')
METRICS = ('2d', 'aos', 'bev', '3d')
#: Least 2D, bird's-eye view and 3D overlaps, by class. ``official`` are those of the original
#: implementation (src/tools/kitti_eval/evaluate_object_3d_offline.cpp), ``strict`` those of
#: KITTI's server.
IOU_SETS: dict[str, dict[str, tuple[float, ...]]] = {
    'official': {'Car': (.7, .5, .5), 'Pedestrian': (.5, .25, .25), 'Cyclist': (.5, .25, .25)},
    'strict': {'Car': (.7, .7, .7), 'Pedestrian': (.5, .5, .5), 'Cyclist': (.5, .5, .5)}}
#: Number of recall steps that precision is averaged over -> which of the 41 steps: every fourth,
#: recall 0 included (until 2019), or all but recall 0.
RECALL_STEPS = 41
RECALL_POINTS = {11: slice(0, None, 4), 40: slice(1, None)}
#: Alpha of results without an orientation.
NO_ALPHA = -10
# Pairs of boxes, of all images, that are computed at a time.
_CHUNK = 1 << 18


class Evaluation(NamedTuple):
    """Results of :func:`evaluate`.

    ``figures`` (dict[str, float]): by names such as ``Car_moderate_bev_AP40_official`` and
    ``mean_moderate_bev_AP40_official``, in [0, 1], NaN where there is no object;
    ``counts`` (dict[tuple[str, str], int]): objects that count, by class and difficulty;
    ``overlaps`` (dict[tuple[str, str], tuple]): least overlaps by IoU set and class; ``notes``
    (list[str]): explanations of figures that are missing or cannot reach 1.
    """
    figures: dict[str, float]
    counts: dict[tuple[str, str], int]
    overlaps: _Least
    notes: list[str]


def least_overlaps(
    classes: Sequence[str],
    iou_sets: Sequence[str],
    class_ious: Mapping[str, Sequence[float]] | None = None,
) -> _Least:
    """Return the least overlaps of each class.

    Args:
        classes (Sequence[str]): to be evaluated.
        iou_sets (Sequence[str]): keys of ``IOU_SETS``.
        class_ious (dict[str, Sequence[float]], optional): class -> least 2D,
            bird's-eye view and 3D overlaps, which replace those of every set.

    Returns:
        dict[tuple[str, str], tuple[float, float, float]]: by IoU set and class.

    Raises:
        UserError: for a set that does not exist, a class without overlaps, or overlaps that are
            not three numbers of at least 0 and below 1.
    """
    class_ious = class_ious or {}
    for name, values in class_ious.items():
        if len(values) != len(OVERLAPS) or not all(0 <= value < 1 for value in values):
            raise UserError(
                f'the least overlaps {list(values)} of class {name!r} must be three numbers of at '
                'least 0 and below 1: for the 2D box, the bird\'s-eye view and the 3D box')
    unknown = [name for name in iou_sets if name not in IOU_SETS]
    if unknown or not iou_sets:
        raise UserError(
            f'the IoU sets {list(iou_sets)} must be some of {", ".join(map(repr, IOU_SETS))}')
    found: _Least = {}
    for set_name in iou_sets:
        for name in classes:
            least = class_ious[name] if name in class_ious else IOU_SETS[set_name].get(name)
            if least is None:
                raise UserError(
                    f'class {name!r} has no least overlap in the IoU set {set_name!r}, which '
                    f'knows {", ".join(IOU_SETS[set_name])}: give it some with '
                    f'class_ious={{{name!r}: (0.7, 0.5, 0.5)}} (2D box, bird\'s-eye view, 3D box)')
            found[set_name, name] = tuple(map(float, least))
    return found


def evaluate(
    labels: Sequence[KittiObjects],
    results: Sequence[KittiObjects],
    classes: Sequence[str],
    iou_sets: Sequence[str] = ('official', 'strict'),
    recall_points: Sequence[int] = (11, 40),
    class_ious: Mapping[str, Sequence[float]] | None = None,
    track: Callable[[list[tuple[str, int]]], Iterable[tuple[str, int]]] | None = None,
) -> Evaluation:
    """Evaluate the results of a set of images.

    The rules are those of the development kit. An object counts at a difficulty if it is high
    enough and neither occluded nor truncated more than the difficulty allows. Other objects of the
    class, and its neighbors (Van for Car, Person_sitting for Pedestrian), may be detected but need
    not be; the same holds for detections that are not high enough, of whatever class. ``DontCare``
    regions excuse false 2D detections by the fraction of the detection that they cover, but no
    false bird's-eye view or 3D detections. Types are compared without regard to case. There are no
    more precision values than detected objects, so that the AP of fewer than 41 objects stays
    below 1.

    One departure: where neither a true nor a false detection counts at some threshold, precision
    is 0 over 0 in the kit, and here the best at the thresholds below it.

    Args:
        labels, results (Sequence[KittiObjects]): one of each image, see
            :mod:`mmdet_centernet.io.kitti`.
        classes (Sequence[str]): to be evaluated.
        iou_sets (Sequence[str]): keys of ``IOU_SETS``.
        recall_points (Sequence[int]): 11, 40 or both.
        class_ious (dict, optional): see :func:`least_overlaps`.
        track (callable, optional): takes the list of steps, returns an iterable of them and may
            show the progress.

    Returns:
        Evaluation

    Raises:
        UserError: for options that cannot be used, see :func:`least_overlaps`.
    """
    if not recall_points or any(count not in RECALL_POINTS for count in recall_points):
        raise UserError(f'recall_points = {list(recall_points)} must be 11, 40 or both')
    overlaps = least_overlaps(classes, iou_sets, class_ious)
    truth, found = _flatten(labels), _flatten(results)
    # The kit skips orientation if one detection has none.
    oriented = not (found.alpha == NO_ALPHA).any()
    covered = _coverage(truth, found)
    steps = [(name, level) for name in classes for level in range(-1, len(DIFFICULTIES))]
    curves: _Curves = {}
    counts: dict[tuple[str, str], int] = {}
    for name, level in track(steps) if track else steps:
        if level < 0:
            # The overlaps of a class serve all its difficulties.
            least = {kind: sorted({overlaps[set_name, name][i] for set_name in iou_sets})
                     for i, kind in enumerate(OVERLAPS)}
            task = _ClassTask(name, truth, found, covered, least)
            continue
        counts[name, DIFFICULTIES[level]], ignored, small = task.at(level)
        for kind in OVERLAPS:
            for iou in least[kind]:
                curves[name, level, kind, iou] = task.curves(kind, iou, ignored, small)
    figures: dict[str, float] = {}
    for set_name in iou_sets:
        for points in recall_points:
            _figures_of(figures, curves, counts, classes, overlaps, set_name, points, oriented)
    undetected = [name for name in classes if not (found.types == name.lower()).any()]
    notes = _notes(counts, undetected, len(labels), oriented)
    return Evaluation(figures, counts, overlaps, notes)


def _figures_of(
    figures: dict[str, float],
    curves: _Curves,
    counts: dict[tuple[str, str], int],
    classes: Sequence[str],
    overlaps: _Least,
    set_name: str,
    points: int,
    oriented: bool,
) -> None:
    """Add the figures of one IoU set and one number of recall points, means last."""
    means: dict[str, list[float]] = {}
    for name in classes:
        for level, difficulty in enumerate(DIFFICULTIES):
            for metric in METRICS:
                kind = '2d' if metric == 'aos' else metric
                iou = overlaps[set_name, name][OVERLAPS.index(kind)]
                precision, similarity = curves[name, level, kind, iou]
                curve = similarity if metric == 'aos' else precision
                assert curve is not None  # orientations have a curve of 2D overlaps
                value = float(curve[RECALL_POINTS[points]].mean())
                if not counts[name, difficulty] or (metric == 'aos' and not oriented):
                    value = math.nan
                key = f'{difficulty}_{metric}_AP{points}_{set_name}'
                figures[f'{name}_{key}'] = value
                means.setdefault(f'mean_{key}', []).append(value)
    for key, values in means.items():
        measured = [value for value in values if not math.isnan(value)]
        figures[key] = sum(measured) / len(measured) if measured else math.nan


def _notes(
    counts: dict[tuple[str, str], int], undetected: list[str], num_images: int, oriented: bool
) -> list[str]:
    """Explain the figures that are missing or cannot reach 1."""
    absent, few = [], []
    for (name, level), count in counts.items():
        if not count:
            absent.append(f'{name} {level}')
        elif count < RECALL_STEPS:
            few.append(f'{name} {level} {count}')
    notes = []
    if undetected:
        notes.append(f'Nothing at all was detected of: {", ".join(undetected)}.')
    if absent:
        notes.append(
            f'Not measured, and left out of means, because there are no such objects in the '
            f'labels of {num_images} images: {", ".join(absent)}.')
    if few:
        notes.append(
            f'Fewer than {RECALL_STEPS} objects, so that even perfect results stay below an AP of '
            f'1 in KITTI\'s sampling of recall: {", ".join(few)}.')
    if not oriented:
        notes.append(
            f'AOS is not measured: a detection has the alpha {NO_ALPHA}, which stands for an '
            'unknown orientation.')
    return notes


class _Objects(NamedTuple):
    """Objects of all images in order; ``image`` [N] is not decreasing, ``types`` in lower case."""
    image: _Ints
    types: NDArray[np.str_]
    truncated: _Floats
    occluded: _Floats
    alpha: _Floats
    bboxes: _Floats
    boxes_3d: _Floats
    height: _Floats
    scores: _Floats | None


def _flatten(files: Sequence[KittiObjects]) -> _Objects:
    """Join the objects of all files into one table."""
    def join(field: str, *shape: int) -> _Floats:
        parts = [np.asarray(getattr(file, field), np.float64) for file in files]
        return np.concatenate(parts) if parts else np.zeros((0, *shape))

    bboxes = join('bboxes', 4)
    scored = all(file.scores is not None for file in files)
    return _Objects(
        image=np.repeat(np.arange(len(files)), [len(file.types) for file in files]),
        types=np.array([name.lower() for file in files for name in file.types], dtype=str),
        truncated=join('truncated'), occluded=join('occluded'), alpha=join('alpha'),
        bboxes=bboxes,
        boxes_3d=np.concatenate(
            (join('locations', 3), join('dims', 3), join('rotation_y')[:, None]), axis=1),
        height=bboxes[:, 3] - bboxes[:, 1], scores=join('scores') if scored else None)


def _coverage(truth: _Objects, found: _Objects) -> _Floats:
    """Return the fraction of each detection that the best ``DontCare`` region covers: [D]."""
    regions = np.flatnonzero(truth.types == REGION)
    covered = np.zeros(len(found.image))
    for region, detection in _pairs(truth.image, found.image, regions,
                                    np.arange(len(found.image))):
        np.maximum.at(covered, detection, box_overlaps(
            found.bboxes[detection], truth.bboxes[region], 'iof', aligned=True))
    return covered


def _pairs(
    truth_images: _Ints, found_images: _Ints, truths: _Ints, detections: _Ints
) -> Iterator[tuple[_Ints, _Ints]]:
    """Yield all pairs of a truth and a detection of one image, some at a time.

    Args:
        truth_images, found_images (ndarray): images of all objects, not decreasing.
        truths, detections (ndarray): indices of the objects to pair, increasing.

    Yields:
        tuple[ndarray[P], ndarray[P]]: indices of truth and detection.
    """
    images = truth_images[truths]
    begin = np.searchsorted(images, found_images[detections], side='left')
    count = np.searchsorted(images, found_images[detections], side='right') - begin
    ends = np.cumsum(count)
    start = 0
    while start < len(detections):
        done = ends[start - 1] if start else 0
        # At least one detection, however many truths its image has.
        stop = max(int(np.searchsorted(ends, done + _CHUNK, side='right')), start + 1)
        counts = count[start:stop]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield (truths[np.repeat(begin[start:stop], counts) + within],
               np.repeat(detections[start:stop], counts))
        start = stop


class _ClassTask:
    """Evaluation of one class; all difficulties share its overlaps.

    Args:
        name (str): the class.
        truth, found (_Objects): of all images.
        covered (ndarray[D]): see :func:`_coverage`.
        least (dict[str, list[float]]): kind of overlap -> least overlaps, increasing.
    """

    def __init__(
        self,
        name: str,
        truth: _Objects,
        found: _Objects,
        covered: _Floats,
        least: dict[str, list[float]],
    ) -> None:
        name = name.lower()
        self.truth, self.found, self.covered = truth, found, covered
        self.own_truth = truth.types == name
        self.own_found = found.types == name
        truths = np.flatnonzero(self.own_truth | np.isin(truth.types, NEIGHBORS.get(name, ())))
        # Detections of other classes that are small at some difficulty may be matched and ignored.
        detections = np.flatnonzero(
            self.own_found | (np.abs(found.height) < max(MIN_HEIGHT)))
        parts: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in OVERLAPS}
        for i, j in _pairs(truth.image, found.image, truths, detections):
            boxes, others = found.boxes_3d[j], truth.boxes_3d[i]
            shared = intersection_areas(ground_boxes(boxes), ground_boxes(others))
            for kind, values in (
                    ('2d', box_overlaps(found.bboxes[j], truth.bboxes[i], aligned=True)),
                    ('bev', bev_overlaps(boxes, others, shared)),
                    ('3d', overlaps_3d(boxes, others, shared))):
                enough = values > least[kind][0]
                parts[kind].append((i[enough], j[enough], values[enough]))
        # Kind -> truth, detection and overlap of each pair that overlaps enough.
        self.candidates: dict[str, tuple[Any, ...]] = {
            kind: tuple(map(np.concatenate, zip(*each))) if each else (
                np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
            for kind, each in parts.items()}

    def at(self, level: int) -> tuple[int, _Bools, _Bools]:
        """Find the objects and detections that a difficulty ignores.

        Args:
            level (int): index of ``DIFFICULTIES``.

        Returns:
            tuple[int, ndarray[G], ndarray[D]]: the number of objects that count; a mask of the
            truths that need not be detected; a mask of the detections that are too small.
        """
        truth = self.truth
        ignored = (~self.own_truth | (truth.occluded > MAX_OCCLUSION[level])
                   | (truth.truncated > MAX_TRUNCATION[level])
                   | (truth.height < MIN_HEIGHT[level]))
        return int((~ignored).sum()), ignored, np.abs(self.found.height) < MIN_HEIGHT[level]

    def curves(
        self, kind: str, iou: float, ignored: _Bools, small: _Bools
    ) -> tuple[_Floats, _Floats | None]:
        """Compute precision and orientation similarity at the recall steps.

        Args:
            kind (str): one of ``OVERLAPS``; orientation and regions count for '2d' only.
            iou (float): pairs that overlap more may be matched.
            ignored, small (ndarray): see :meth:`at`.

        Returns:
            tuple[ndarray[41], ndarray[41] | None]: each the best at the step and after it;
            similarity is None unless ``kind`` is '2d'.
        """
        truths, detections, values = self.candidates[kind]
        keep = (values > iou) & (self.own_found | small)[detections]
        truths, detections, values = truths[keep], detections[keep], values[keep]
        scores = self.found.scores
        assert scores is not None
        # First match by score, to find the scores at which recall passes the steps.
        order = np.lexsort((detections, -scores[detections], truths))
        matched, chosen = self._match(truths[order], detections[order])
        hits = chosen[~ignored[matched], 0]
        hits = hits[hits >= 0]
        thresholds = score_thresholds(scores[hits[~small[hits]]], (~ignored).sum())
        # Then match by overlap among detections of at least that score; a small one if there is
        # no other, and the first of several.
        order = np.lexsort((detections, np.where(small[detections], 0, -values),
                            small[detections], truths))
        matched, chosen = self._match(truths[order], detections[order], thresholds)
        is_matched, chosen_small = chosen >= 0, small[chosen]
        is_found = is_matched & ~chosen_small & ~ignored[matched][:, None]
        # Detections are false if they are not matched and no region excuses them.
        counts = self.own_found & ~small
        if kind == '2d':
            counts &= ~(self.covered > iou)
        above = np.sort(scores[counts])
        num_above = len(above) - np.searchsorted(above, thresholds, side='left')
        num_found = is_found.sum(axis=0)
        num_false = num_above - (is_matched & counts[chosen]).sum(axis=0)
        total = np.maximum(num_found + num_false, 1)
        precision = _envelope(num_found / total)
        if kind != '2d':
            return precision, None
        difference = self.truth.alpha[matched][:, None] - self.found.alpha[chosen]
        similarity = np.where(is_found, (1 + np.cos(difference)) / 2, 0).sum(axis=0)
        return precision, _envelope(similarity / total)

    def _match(
        self,
        truths: _Ints,
        detections: _Ints,
        thresholds: Sequence[float] | _Floats = (-math.inf,),
    ) -> tuple[_Ints, _Ints]:
        """Assign to each truth, in the order of its file, the first free one of its detections.

        Args:
            truths, detections (ndarray[P]): pairs sorted by truth, the detections of each in
                order of preference.
            thresholds (Sequence[float]): detections with a lower score are not used.

        Returns:
            tuple[ndarray[M], ndarray[M, T]]: the truths that are in a pair, and for each
            threshold the detection, or -1.
        """
        thresholds = np.asarray(thresholds, dtype=np.float64)
        matched, first_pair, size = np.unique(truths, return_index=True, return_counts=True)
        used, detections = np.unique(detections, return_inverse=True)
        scores = self.found.scores
        assert scores is not None
        taken = scores[used][:, None] < thresholds  # [U, T]
        chosen = np.full((len(matched), len(thresholds)), -1)
        images = self.truth.image[matched]
        rank = np.arange(len(matched)) - np.searchsorted(images, images, side='left')
        columns = np.arange(len(thresholds))
        # All images at once: their first truths, their second ones, ...
        for position in range(rank.max(initial=-1) + 1 if len(thresholds) else 0):
            now = np.flatnonzero(rank == position)
            counts = size[now]
            starts = np.cumsum(counts) - counts
            pairs = detections[
                np.repeat(first_pair[now] - starts, counts) + np.arange(counts.sum())]
            place = np.where(taken[pairs], len(pairs), np.arange(len(pairs))[:, None])
            place = np.minimum.reduceat(place, starts, axis=0)  # [truths, T]
            row, column = np.nonzero(place < len(pairs))
            detection = pairs[place[row, column]]
            taken[detection, columns[column]] = True
            chosen[now[row], column] = used[detection]
        return matched, chosen


def score_thresholds(scores: _Floats, num_truths: int) -> _Floats:
    """Return the scores at which recall comes closest to each of 41 steps from 0 to 1.

    Args:
        scores (ndarray[M]): of the matched detections.
        num_truths (int): number of objects that count.

    Returns:
        ndarray[T]: decreasing; T <= 41.
    """
    thresholds, recall = [], 0.
    scores = np.sort(scores)[::-1]
    for i, score in enumerate(scores):
        before, after = (i + 1) / num_truths, (i + 2) / num_truths
        if i < len(scores) - 1 and after - recall < recall - before:
            continue
        thresholds.append(score)
        # Accumulated like the kit: rounding decides between equally close scores.
        recall += 1 / (RECALL_STEPS - 1)
    return np.array(thresholds)


def _envelope(values: _Floats) -> _Floats:
    """Return the maximum of each value and those after it, padded with zeros: [41]."""
    curve = np.zeros(RECALL_STEPS)
    curve[:len(values)] = values
    best: _Floats = np.maximum.accumulate(curve[::-1])[::-1]
    return best


def format_tables(
    evaluation: Evaluation,
    classes: Sequence[str],
    iou_sets: Sequence[str],
    recall_points: Sequence[int],
) -> str:
    """Format a table for each IoU set and number of recall points, and the notes.

    Args:
        evaluation (Evaluation): result of :func:`evaluate`.
        classes, iou_sets, recall_points: the arguments of that call.

    Returns:
        str: lines of at most 80 characters except for notes; ``-`` where nothing is measured.
    """
    width = max(map(len, (*classes, 'class')))
    lines = []
    for set_name in iou_sets:
        for points in recall_points:
            lines += [f'AP{points}, IoU set {set_name}',
                      f'{"class":{width}}  difficulty  objects  IoU 2D/BEV/3D ' + ''.join(
                          f'{metric.upper():>8}' for metric in METRICS)]
            rows = [(name, level, str(evaluation.counts[name, level]),
                     '/'.join(f'{iou:.2f}' for iou in evaluation.overlaps[set_name, name]))
                    for name in classes for level in DIFFICULTIES]
            rows += [('mean', level, '', '') for level in DIFFICULTIES]
            for name, level, count, ious in rows:
                values = [evaluation.figures[f'{name}_{level}_{metric}_AP{points}_{set_name}']
                          for metric in METRICS]
                lines.append(f'{name:{width}}  {level:10}  {count:>7}  {ious:14}' + ''.join(
                    f'{"-" if math.isnan(value) else format(value, ".4f"):>8}'
                    for value in values))
            lines.append('')
    return '\n'.join(lines + evaluation.notes).rstrip()
