"""KITTI's object evaluation: AP in the image, with orientation, from above and in space.

The rules are those of the object development kit (``evaluate_object_3d.cpp``): what counts at
each difficulty, which detections are ignored, two rounds of matching, precision where recall
passes 41 steps. All images, score thresholds and objects are computed side by side: only objects
of one image are matched one after the other.
"""
import math
from typing import NamedTuple

import numpy as np

from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.boxes_numpy import (
    bev_overlaps,
    box_overlaps,
    ground_boxes,
    intersection_areas,
    overlaps_3d,
)

DIFFICULTIES = ('easy', 'moderate', 'hard')
MIN_HEIGHT = (40, 25, 25)  # px in the image
MAX_OCCLUSION = (0, 1, 2)
MAX_TRUNCATION = (.15, .3, .5)
#: Neither found nor missed where the class is evaluated.
NEIGHBOURS = {'car': ('van', ), 'pedestrian': ('person_sitting', )}
REGION = 'dontcare'
#: Overlaps are computed in three ways; AOS weights what is found in the image.
OVERLAPS = ('2d', 'bev', '3d')
METRICS = ('2d', 'aos', 'bev', '3d')
#: Least overlaps in the image, from above and in space, by class. ``official`` are those of the
#: original's evaluation (src/tools/kitti_eval/evaluate_object_3d_offline.cpp), ``strict`` those of
#: KITTI's server.
IOU_SETS = {
    'official': {'Car': (.7, .5, .5), 'Pedestrian': (.5, .25, .25), 'Cyclist': (.5, .25, .25)},
    'strict': {'Car': (.7, .7, .7), 'Pedestrian': (.5, .5, .5), 'Cyclist': (.5, .5, .5)}}
#: Numbers of recall steps that precision is averaged over -> which of the 41 steps: every fourth
#: with recall 0 (until 2019), or all but that.
RECALL_STEPS = 41
RECALL_POINTS = {11: slice(0, None, 4), 40: slice(1, None)}
#: In results: the orientation is not known.
NO_ALPHA = -10
# Pairs of boxes at a time, of all images.
_CHUNK = 1 << 18


class Evaluation(NamedTuple):
    """What :func:`evaluate` found.

    ``figures`` (dict[str, float]) by names such as ``Car_moderate_bev_AP40_official`` and
    ``mean_moderate_bev_AP40_official``, in [0, 1], NaN where there is nothing to find;
    ``counts`` (dict[tuple[str, str], int]): objects to be found, by class and difficulty;
    ``overlaps`` (dict[tuple[str, str], tuple]): least overlaps by IoU set and class; ``notes``
    (list[str]): sentences on what the figures do not say by themselves.
    """
    figures: dict
    counts: dict
    overlaps: dict
    notes: list


def least_overlaps(classes, iou_sets, class_ious=None):
    """Least overlaps of each class.

    Args:
        classes (Sequence[str]): to be evaluated.
        iou_sets (Sequence[str]): keys of ``IOU_SETS``.
        class_ious (dict[str, Sequence[float]], optional): class -> least overlaps in the image,
            from above and in space; they replace those of every set.

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
                'least 0 and below 1: in the image, from above and in space')
    unknown = [name for name in iou_sets if name not in IOU_SETS]
    if unknown or not iou_sets:
        raise UserError(
            f'the IoU sets {list(iou_sets)} must be some of {", ".join(map(repr, IOU_SETS))}')
    found = {}
    for set_name in iou_sets:
        for name in classes:
            values = class_ious.get(name, IOU_SETS[set_name].get(name))
            if values is None:
                raise UserError(
                    f'class {name!r} has no least overlap in the IoU set {set_name!r}, which '
                    f'knows {", ".join(IOU_SETS[set_name])}: give it some with '
                    f'class_ious={{{name!r}: (0.7, 0.5, 0.5)}} (image, from above, space)')
            found[set_name, name] = tuple(map(float, values))
    return found


def evaluate(labels, results, classes, iou_sets=('official', 'strict'), recall_points=(11, 40),
             class_ious=None, track=None):
    """Evaluate the results of a set of images.

    As in the development kit: an object is to be found at a difficulty if it is high enough and
    neither occluded nor truncated more than that allows; others of the class, and its
    neighbours (Van for Car, Person_sitting for Pedestrian), may be found but need not be. The
    same goes for detections that are not high enough, of whatever class. ``DontCare`` regions
    excuse false detections in the image by the part of the detection that they cover, and none
    from above or in space. Types are compared without regard to case. There are no more
    precision values than objects are found, so that AP of fewer than 41 objects stays below 1.

    One departure: where at some threshold nothing counts, neither found nor false, precision is
    0 over 0 in the kit, and here the best at the thresholds below it.

    Args:
        labels, results (Sequence[KittiObjects]): of each image; see
            :mod:`mmdet_centernet.io.kitti`.
        classes (Sequence[str]): to be evaluated.
        iou_sets (Sequence[str]): keys of ``IOU_SETS``.
        recall_points (Sequence[int]): 11, 40 or both.
        class_ious (dict, optional): see :func:`least_overlaps`.
        track (callable, optional): given the list of steps, it returns an iterable of them and
            may show how far it is.

    Returns:
        Evaluation

    Raises:
        UserError: for options that cannot be used, see :func:`least_overlaps`.
    """
    if not recall_points or any(count not in RECALL_POINTS for count in recall_points):
        raise UserError(f'recall_points = {list(recall_points)} must be 11, 40 or both')
    overlaps = least_overlaps(classes, iou_sets, class_ious)
    truth, found = _flatten(labels), _flatten(results)
    # The kit leaves orientation out if one detection has none.
    oriented = not (found.alpha == NO_ALPHA).any()
    covered = _coverage(truth, found)
    steps = [(name, level) for name in classes for level in range(-1, len(DIFFICULTIES))]
    curves, counts = {}, {}
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
    figures = {}
    for set_name in iou_sets:
        for points in recall_points:
            _figures_of(figures, curves, counts, classes, overlaps, set_name, points, oriented)
    undetected = [name for name in classes if not (found.types == name.lower()).any()]
    notes = _notes(counts, undetected, len(labels), oriented)
    return Evaluation(figures, counts, overlaps, notes)


def _figures_of(figures, curves, counts, classes, overlaps, set_name, points, oriented):
    """Add the figures of one IoU set and one number of recall points, means last."""
    means = {}
    for name in classes:
        for level, difficulty in enumerate(DIFFICULTIES):
            for metric in METRICS:
                kind = '2d' if metric == 'aos' else metric
                iou = overlaps[set_name, name][OVERLAPS.index(kind)]
                precision, similarity = curves[name, level, kind, iou]
                curve = similarity if metric == 'aos' else precision
                value = float(curve[RECALL_POINTS[points]].mean())
                if not counts[name, difficulty] or (metric == 'aos' and not oriented):
                    value = math.nan
                key = f'{difficulty}_{metric}_AP{points}_{set_name}'
                figures[f'{name}_{key}'] = value
                means.setdefault(f'mean_{key}', []).append(value)
    for key, values in means.items():
        measured = [value for value in values if not math.isnan(value)]
        figures[key] = sum(measured) / len(measured) if measured else math.nan


def _notes(counts, undetected, num_images, oriented):
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
            f'Not measured, and left out of means, for want of objects in the labels of '
            f'{num_images} images: {", ".join(absent)}.')
    if few:
        notes.append(
            f'Fewer than {RECALL_STEPS} objects, by which even perfect results stay below an AP '
            f'of 1 in KITTI\'s sampling of recall: {", ".join(few)}.')
    if not oriented:
        notes.append(
            f'AOS is not measured: a detection has the alpha {NO_ALPHA}, which stands for an '
            'unknown orientation.')
    return notes


class _Objects(NamedTuple):
    """Objects of all images in order; ``image`` [N] is not decreasing, ``types`` in lower case."""
    image: np.ndarray
    types: np.ndarray
    truncated: np.ndarray
    occluded: np.ndarray
    alpha: np.ndarray
    bboxes: np.ndarray
    boxes_3d: np.ndarray
    height: np.ndarray
    scores: np.ndarray | None


def _flatten(files):
    """One table of the objects of all files."""
    def join(field, *shape):
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


def _coverage(truth, found):
    """Part of each detection that the best ``DontCare`` region covers: [D]."""
    regions = np.flatnonzero(truth.types == REGION)
    covered = np.zeros(len(found.image))
    for region, detection in _pairs(truth.image, found.image, regions,
                                    np.arange(len(found.image))):
        np.maximum.at(covered, detection, box_overlaps(
            found.bboxes[detection], truth.bboxes[region], 'iof', aligned=True))
    return covered


def _pairs(truth_images, found_images, truths, detections):
    """All pairs of a truth and a detection of one image, some at a time.

    Args:
        truth_images, found_images (ndarray): images of all objects, not decreasing.
        truths, detections (ndarray): indices of those to be paired, increasing.

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
        # One detection at least, however many truths its image has.
        stop = max(int(np.searchsorted(ends, done + _CHUNK, side='right')), start + 1)
        counts = count[start:stop]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield (truths[np.repeat(begin[start:stop], counts) + within],
               np.repeat(detections[start:stop], counts))
        start = stop


class _ClassTask:
    """What the evaluation of one class needs at all difficulties.

    Args:
        name (str): the class.
        truth, found (_Objects): of all images.
        covered (ndarray[D]): of :func:`_coverage`.
        least (dict[str, list[float]]): kind of overlap -> least overlaps, increasing.
    """

    def __init__(self, name, truth, found, covered, least):
        name = name.lower()
        self.truth, self.found, self.covered = truth, found, covered
        self.own_truth = truth.types == name
        self.own_found = found.types == name
        truths = np.flatnonzero(self.own_truth | np.isin(truth.types, NEIGHBOURS.get(name, ())))
        # Of other classes those that are small at some difficulty may be matched, and ignored.
        detections = np.flatnonzero(
            self.own_found | (np.abs(found.height) < max(MIN_HEIGHT)))
        parts = {kind: [] for kind in OVERLAPS}
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
        self.candidates = {
            kind: tuple(map(np.concatenate, zip(*each))) if each else (
                np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
            for kind, each in parts.items()}

    def at(self, level):
        """What a difficulty ignores.

        Args:
            level (int): index of ``DIFFICULTIES``.

        Returns:
            tuple[int, ndarray[G], ndarray[D]]: number of objects to be found; whether each
            truth of the class or a neighbour need not be; whether each detection is too small.
        """
        truth = self.truth
        ignored = (~self.own_truth | (truth.occluded > MAX_OCCLUSION[level])
                   | (truth.truncated > MAX_TRUNCATION[level])
                   | (truth.height < MIN_HEIGHT[level]))
        return int((~ignored).sum()), ignored, np.abs(self.found.height) < MIN_HEIGHT[level]

    def curves(self, kind, iou, ignored, small):
        """Precision and orientation similarity at the recall steps.

        Args:
            kind (str): of ``OVERLAPS``; orientation and regions count in the image only.
            iou (float): pairs that overlap more may be matched.
            ignored, small (ndarray): of :meth:`at`.

        Returns:
            tuple[ndarray[41], ndarray[41] | None]: each the best at the step and after it.
        """
        truths, detections, values = self.candidates[kind]
        keep = (values > iou) & (self.own_found | small)[detections]
        truths, detections, values = truths[keep], detections[keep], values[keep]
        scores = self.found.scores
        # First by score, to see at which scores recall passes the steps.
        order = np.lexsort((detections, -scores[detections], truths))
        matched, chosen = self._match(truths[order], detections[order])
        hits = chosen[~ignored[matched], 0]
        hits = hits[hits >= 0]
        thresholds = score_thresholds(scores[hits[~small[hits]]], (~ignored).sum())
        # Then by overlap among detections of at least that score; a small one if there is none
        # else, and of those the first.
        order = np.lexsort((detections, np.where(small[detections], 0, -values),
                            small[detections], truths))
        matched, chosen = self._match(truths[order], detections[order], thresholds)
        is_matched, chosen_small = chosen >= 0, small[chosen]
        is_found = is_matched & ~chosen_small & ~ignored[matched][:, None]
        # False are those that nothing was matched with and no region excuses.
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
        turn = self.truth.alpha[matched][:, None] - self.found.alpha[chosen]
        similarity = np.where(is_found, (1 + np.cos(turn)) / 2, 0).sum(axis=0)
        return precision, _envelope(similarity / total)

    def _match(self, truths, detections, thresholds=(-math.inf, )):
        """Give each truth, in the order of its file, the first of its detections that is free.

        Args:
            truths, detections (ndarray[P]): pairs, by truth, each with its detections as it
                prefers them.
            thresholds (Sequence[float]): detections with a lower score are not there.

        Returns:
            tuple[ndarray[M], ndarray[M, T]]: the truths that are in a pair, and for each
            threshold the detection, or -1.
        """
        thresholds = np.asarray(thresholds, dtype=np.float64)
        matched, first_pair, size = np.unique(truths, return_index=True, return_counts=True)
        used, detections = np.unique(detections, return_inverse=True)
        taken = self.found.scores[used][:, None] < thresholds  # [U, T]
        chosen = np.full((len(matched), len(thresholds)), -1)
        images = self.truth.image[matched]
        rank = np.arange(len(matched)) - np.searchsorted(images, images, side='left')
        columns = np.arange(len(thresholds))
        # All images at once: their first truths, their second ones, ...
        for turn in range(rank.max(initial=-1) + 1 if len(thresholds) else 0):
            now = np.flatnonzero(rank == turn)
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


def score_thresholds(scores, num_truths):
    """Scores at which recall comes closest to each of 41 steps from 0 to 1.

    Args:
        scores (ndarray[M]): of what was found.
        num_truths (int): what was to be found.

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
        # Added up as the kit does: its rounding decides between equally close scores.
        recall += 1 / (RECALL_STEPS - 1)
    return np.array(thresholds)


def _envelope(values):
    """The best of each value and those after it, with zeros up to the last step: [41]."""
    curve = np.zeros(RECALL_STEPS)
    curve[:len(values)] = values
    return np.maximum.accumulate(curve[::-1])[::-1]


def format_tables(evaluation, classes, iou_sets, recall_points):
    """Tables of figures, one for each IoU set and number of recall points, and the notes.

    Args:
        evaluation (Evaluation): of :func:`evaluate`.
        classes, iou_sets, recall_points: as that was given.

    Returns:
        str: lines of at most 80 characters but for notes; ``-`` where nothing is measured.
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
