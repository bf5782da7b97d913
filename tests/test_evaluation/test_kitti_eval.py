"""KITTI's AP against a slow implementation of its rules and by hand."""
import itertools
import math
import time

import numpy as np
import pytest
from helpers.cases import case
from helpers.kitti import DIMS, objects, random_object, random_scenes
from reference.kitti import average_slowly, evaluate_slowly

from mmdet_centernet.errors import UserError
from mmdet_centernet.evaluation import kitti_eval
from mmdet_centernet.evaluation.kitti_eval import evaluate, format_tables, score_thresholds

CLASSES = ('Pedestrian', 'Car', 'Cyclist')
BOX = (100, 100, 200, 160)
PLACE = (0., 1.6, 20.)


def assert_same(figures, expected):
    """Check that figures are equal to 1e-6, and NaN in the same places."""
    assert set(figures) == set(expected)
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize('seed, options', [
    (0, dict(images=100)), (1, dict(images=100, inventions=8)),
    (2, dict(images=60, most_objects=25)), (3, dict(images=100, most_objects=2))])
def test_evaluate_equals_reference(seed, options):
    labels, results = random_scenes(seed, **options)
    found = evaluate(labels, results, CLASSES)
    assert_same(found.figures, evaluate_slowly(labels, results))
    measured = [value for value in found.figures.values() if not math.isnan(value)]
    assert len(set(measured)) > 100 or options.get('most_objects') == 2
    types = {name for label in labels for name in label.types}
    assert types == {*DIMS, 'DontCare'}
    assert any(not label.types for label in labels) and any(not r.types for r in results)


def test_evaluate_of_few_images_equals_reference():
    """Classes are missing, nothing is found, precision has a few steps only."""
    for seed in range(40):
        with case(seed):
            labels, results = random_scenes(100 + seed, images=1 + seed % 6, most_objects=8)
            found = evaluate(labels, results, CLASSES).figures
            assert_same(found, evaluate_slowly(labels, results))


def test_evaluate_does_not_depend_on_the_order_of_its_inputs():
    labels, results = random_scenes(5, images=40)
    figures = evaluate(labels, results, CLASSES).figures
    assert_same(evaluate(labels[::-1], results[::-1], CLASSES[::-1], ('strict', 'official'),
                  (40, 11)).figures, figures)
    part = evaluate(labels, results, ('Car', ), ('strict', ), (40, )).figures
    # Small pedestrians are in the results of either.
    assert {name: value for name, value in figures.items() if name in part
            and name.startswith('Car')} == {
                name: value for name, value in part.items() if name.startswith('Car')}
    assert part['mean_hard_3d_AP40_strict'] == part['Car_hard_3d_AP40_strict']
    assert len(part) == 2 * 3 * 4


def row(name='Car', box=BOX, place=PLACE, score=.5, alpha=0., dims=(1.5, 1.6, 3.9), turn=0.,
        truncated=0., occluded=0):
    return [name, truncated, occluded, alpha, box, dims, place, turn, score]


def ap(truths, detections, name='Car', metric='2d', level='moderate', ious='strict', repeat=60,
       **options):
    """AP40 of an image that is seen many times, each time with scores of its own.

    So many that every step of recall is taken: with all found and nothing false it is 1.
    """
    images = [[[*each[:8], each[8] - index * 1e-4] for each in detections]
              for index in range(repeat)]
    found = evaluate([objects(truths)] * repeat, [objects(each, True) for each in images],
                     (name, ), (ious, ), (40, ), **options)
    return found.figures[f'{name}_{level}_{metric}_AP40_{ious}']


def test_perfect_and_useless_results():
    for metric in ['2d', 'aos', 'bev', '3d']:
        with case(metric):
            assert ap([row()], [row()], metric=metric) == pytest.approx(1)
            assert ap([row()], [row(), row()], metric=metric) == pytest.approx(.5)
            # At the scores of what is found, what has a lower score is not there.
            assert ap([row()], [row(), row(score=.9)], metric=metric) == pytest.approx(1)
            assert ap([row()], [row(place=(9, 1.6, 20), box=(0, 0, 50, 60))], metric=metric) == 0
            assert ap([row()], [], metric=metric) == 0
            assert math.isnan(ap([], [row()], metric=metric))
            assert math.isnan(ap([row('Pedestrian')], [row()], metric=metric))


def test_orientation_counts_in_aos_alone():
    away = [row(alpha=math.pi / 2)]
    assert ap([row()], away, metric='aos') == pytest.approx(.5)
    assert ap([row()], away, metric='2d') == pytest.approx(1)
    assert ap([row()], [row(alpha=math.pi)], metric='aos') == pytest.approx(0)
    assert ap([row()], [row(), row()], metric='aos') == pytest.approx(.5)
    unknown = evaluate([objects([row()])] * 50,
                       [objects([row(alpha=-10.)], True)] * 50, ('Car', ), ('strict', ), (40, ))
    assert math.isnan(unknown.figures['Car_easy_aos_AP40_strict'])
    assert unknown.figures['Car_easy_2d_AP40_strict'] == pytest.approx(1)
    assert 'AOS is not measured: a detection has the alpha -10' in ' '.join(unknown.notes)


def test_difficulties_select_the_objects_to_find():
    for change, levels in [
        (dict(), 'easy moderate hard'),
        (dict(box=(100, 100, 200, 139.9)), 'moderate hard'),
        (dict(box=(100, 100, 200, 140)), 'easy moderate hard'),
        (dict(box=(100, 100, 200, 124.9)), ''),
        (dict(occluded=1), 'moderate hard'), (dict(occluded=2), 'hard'), (dict(occluded=3), ''),
        (dict(truncated=.15), 'easy moderate hard'), (dict(truncated=.16), 'moderate hard'),
        (dict(truncated=.4), 'hard'), (dict(truncated=.51), '')]:
        with case(change, levels):
            for level in kitti_eval.DIFFICULTIES:
                missed = ap([row(**change)], [], level=level)
                assert missed == 0 if level in levels else math.isnan(missed)
            # An object that need not be found may be.
            for level in kitti_eval.DIFFICULTIES:
                assert ap([row(**change), row(place=(9, 1.6, 20), box=(300, 90, 400, 160))],
                          [row(**change), row(place=(9, 1.6, 20), box=(300, 90, 400, 160))],
                          level=level) == pytest.approx(1)


BESIDE = dict(place=(9, 1.6, 20), box=(300, 90, 400, 160))


def test_neighbors_are_neither_found_nor_missed():
    types = (('Car', 'Van', 'Tram'), ('Pedestrian', 'Person_sitting', 'Van'),
             ('Car', 'VAN', 'Truck'))
    for metric, (name, neighbor, other) in itertools.product(('2d', 'bev', '3d'), types):
        with case(metric, name, neighbor, other):
            found = [row(name), row(name, score=.9, **BESIDE)]
            truths = [row(name), row(neighbor, **BESIDE)]
            assert ap(truths, found, name, metric) == pytest.approx(1)
            assert ap([row(name), row(other, **BESIDE)], found, name, metric) == pytest.approx(.5)
            assert ap(truths, found[:1], name, metric) == pytest.approx(1)


def test_regions_excuse_false_detections_in_the_image():
    region = ['DontCare', -1, -1, -10, (250, 0, 500, 200), [-1] * 3, [-1000] * 3, -10, 0]
    found = [row(), row(score=.9, **BESIDE)]
    assert ap([row(), region], found) == pytest.approx(1)
    assert ap([row(), region], found, metric='bev') == pytest.approx(.5)
    assert ap([row(), region], found, metric='3d') == pytest.approx(.5)
    # By the part of the detection: a car's must be covered by more than 0.7.
    for left, value in ((325, 1), (331, .5)):
        region[4] = (left, 0, 500, 200)
        assert ap([row(), region], found) == pytest.approx(value)
    # What is found in a region is found.
    region[4] = (0, 0, 500, 200)
    assert ap([row(), region], [row()]) == pytest.approx(1)


def test_small_detections_are_ignored_and_take_what_is_left():
    low = (100, 100, 200, 124)
    truth, beside = row(box=(100, 100, 200, 130)), row(**BESIDE)
    # It is false nowhere, ...
    assert ap([truth], [truth, row(score=.9, place=(30, 1.6, 40), box=(0, 0, 90, 24))]
              ) == pytest.approx(1)
    # and its object is then not missed: also if it is a pedestrian's.
    for name in ('Car', 'Pedestrian'):
        assert ap([truth, beside], [row(name, box=low), beside]) == pytest.approx(1 / 2, abs=.02)
        precision = ap([truth, beside], [row(name, box=low, score=.1), truth, beside])
        assert precision == pytest.approx(1)


def test_notes_name_classes_with_few_objects_or_none():
    for count, value in ((1, 0), (2, 1 / 40), (40, 39 / 40), (41, 1), (60, 1)):
        assert ap([row()], [row()], repeat=count) == pytest.approx(value)
    few = evaluate([objects([row(), row('Cyclist', occluded=1, **BESIDE)])] * 12,
                   [objects([], True)] * 12, CLASSES)
    assert few.counts['Car', 'easy'] == few.counts['Cyclist', 'hard'] == 12
    notes = ' '.join(few.notes)
    assert 'Nothing at all was detected of: Pedestrian, Car, Cyclist.' in notes
    assert 'objects in the labels of 12 images: Pedestrian easy, Pedestrian moderate' in notes
    assert 'Fewer than 41 objects' in notes and 'Car easy 12, ' in notes
    # The mean is that of what is measured.
    figures = evaluate([objects([row()])] * 50, [objects([row()], True)] * 50, CLASSES).figures
    assert figures['mean_easy_3d_AP40_strict'] == pytest.approx(1)
    assert math.isnan(figures['Cyclist_easy_3d_AP40_strict'])
    nothing = evaluate([], [], CLASSES).figures
    assert len(nothing) == 192 and all(math.isnan(value) for value in nothing.values())


def test_score_thresholds_are_steps_of_recall():
    scores = np.linspace(.9, .1, 401)
    recalls = (1 + np.searchsorted(-scores, -score_thresholds(scores, 401))) / 401
    np.testing.assert_allclose(recalls, np.arange(41) / 40, atol=1 / 401)
    assert score_thresholds(np.array([.2, .7, .5]), 3).tolist() == [.7, .5, .2]
    # Half of all is found: half of the steps, and the last score in any case.
    assert len(score_thresholds(scores, 802)) == 21
    assert score_thresholds(scores, 802)[-1] == pytest.approx(.1)
    assert score_thresholds(np.zeros(0), 0).shape == (0, )


def test_the_eleven_points_are_every_fourth_step():
    # All found, and below a recall of 0.4 nothing is false.
    truths, results = [], []
    for index in range(100):
        truths.append(objects([row()]))
        false = [row(score=.001 * (100 - index), **BESIDE)] if index > 40 else []
        results.append(objects([row(score=.001 * (100 - index)), *false], True))
    found = evaluate(truths, results, ('Car', )).figures
    expected = evaluate_slowly(truths, results, ('Car', ))
    assert_same(found, expected)
    assert found['Car_easy_2d_AP11_strict'] != found['Car_easy_2d_AP40_strict']
    curve = [1.] * 17 + [0.] * 24
    assert average_slowly(curve, 11) == pytest.approx(5 / 11)
    assert average_slowly(curve, 40) == pytest.approx(16 / 40)


def shifted(overlap, size):
    """How far to move a box of some length for an intersection over union."""
    return size * (1 - overlap) / (1 + overlap)


def test_least_overlaps():
    for ious, name, metric, least in [
        (ious, name, metric, least)
        for ious, table in (('official', dict(Car=(.7, .5, .5), Pedestrian=(.5, .25, .25),
                                              Cyclist=(.5, .25, .25))),
                            ('strict', dict(Car=[.7] * 3, Pedestrian=[.5] * 3, Cyclist=[.5] * 3)))
        for name, values in table.items() for metric, least in zip(('2d', 'bev', '3d'), values)]:
        with case(ious, name, metric, least):
            for overlap, found in ((least + .01, 1), (least - .01, 0)):
                moved = row(name, box=np.array(BOX) + [shifted(overlap, 100), 0] * 2,
                            place=(shifted(overlap, 3.9), *PLACE[1:]))
                assert ap([row(name)], [moved], name, metric, ious=ious) == pytest.approx(found)


def test_other_classes_with_overlaps_of_their_own():
    moved = row('Truck', box=np.array(BOX) + [shifted(.45, 100), 0] * 2)
    options = dict(name='Truck', class_ious=dict(Truck=(.4, .5, .6)))
    assert ap([row('Truck')], [moved], **options) == pytest.approx(1)
    assert ap([row('Truck')], [moved], name='Truck',
              class_ious=dict(Truck=(.5, .5, .6))) == 0
    for overlap, metrics in ((.55, ['bev']), (.65, ['bev', '3d']), (.45, [])):
        moved = row('Truck', place=(shifted(overlap, 3.9), *PLACE[1:]))
        for metric in ('bev', '3d'):
            assert ap([row('Truck')], [moved], metric=metric, **options) == pytest.approx(
                float(metric in metrics))
    # They replace those of the sets too.
    moved = row(box=np.array(BOX) + [shifted(.45, 100), 0] * 2)
    assert ap([row()], [moved], class_ious=dict(Car=(.4, .5, .6))) == pytest.approx(1)


def test_format_tables():
    labels, results = random_scenes(7, images=60)
    labels = [label._replace(types=[name.replace('Cyclist', 'Tram') for name in label.types])
              for label in labels]
    found = evaluate(labels, results, CLASSES)
    text = format_tables(found, CLASSES, ('official', 'strict'), (11, 40))
    tables = text.split('\n\n')
    assert [table.splitlines()[0] for table in tables[:4]] == [
        f'AP{points}, IoU set {name}' for name in ('official', 'strict') for points in (11, 40)]
    lines = tables[3].splitlines()
    assert lines[1].split() == ['class', 'difficulty', 'objects', 'IoU', '2D/BEV/3D', '2D', 'AOS',
                                'BEV', '3D']
    assert all(len(line) <= 80 for table in tables[:4] for line in table.splitlines())
    assert lines[6].split() == ['Car', 'moderate', str(found.counts['Car', 'moderate']),
                                '0.70/0.70/0.70'] + [
        f'{found.figures[f"Car_moderate_{metric}_AP40_strict"]:.4f}'
        for metric in ('2d', 'aos', 'bev', '3d')]
    assert lines[8].split()[:4] == ['Cyclist', 'easy', '0', '0.50/0.50/0.50']
    assert lines[8].split()[4:] == ['-'] * 4
    assert lines[-1].split() == ['mean', 'hard'] + [
        f'{found.figures[f"mean_hard_{metric}_AP40_strict"]:.4f}'
        for metric in ('2d', 'aos', 'bev', '3d')]
    assert tables[4] == '\n'.join(found.notes)


@pytest.mark.parametrize('options, reason', [
    (dict(recall_points=(12, )), r'recall_points = \[12\] must be 11, 40 or both'),
    (dict(recall_points=()), 'must be 11, 40 or both'),
    (dict(iou_sets=('loose', )), r"IoU sets \['loose'\] must be some of 'official', 'strict'"),
    (dict(iou_sets=()), 'must be some of'),
    (dict(classes=('Car', 'Bus')), "class 'Bus' has no least overlap in the IoU set 'official'"),
    (dict(class_ious=dict(Car=(.5, .5))), r"overlaps \[0.5, 0.5\] of class 'Car' must be three"),
    (dict(class_ious=dict(Car=(.5, .5, 1.))), 'at least 0 and below 1'),
])
def test_evaluate_refuses_bad_options(options, reason):
    with pytest.raises(UserError, match=reason):
        evaluate([], [], **dict(dict(classes=CLASSES), **options))


def test_evaluate_in_chunks_of_pairs_is_the_same(monkeypatch):
    labels, results = random_scenes(8, images=30)
    expected = evaluate(labels, results, CLASSES).figures
    monkeypatch.setattr(kitti_eval, '_CHUNK', 3)
    assert_same(evaluate(labels, results, CLASSES).figures, expected)


def test_evaluate_is_fast_and_reports_its_steps():
    """Fifteen times as many images take less time than the slow implementation."""
    rng = np.random.default_rng(0)
    names = ['Car'] * 4 + ['Pedestrian', 'Cyclist']
    some = [[random_object(rng, str(rng.choice(names))) for _ in range(50)] for _ in range(25)]
    for rows in some:
        for each in rows:
            each[8] = rng.random()
    labels = [objects(rows[:12]) for rows in some]
    results = [objects(rows, True) for rows in some]
    shown = []

    def track(steps):
        for step in steps:
            shown.append(step)
            yield step

    begin = time.process_time()
    evaluate_slowly(labels, results)
    middle = time.process_time()
    evaluate(labels * 15, results * 15, CLASSES, track=track)
    assert time.process_time() - middle < middle - begin
    assert len(shown) == 3 * 4
