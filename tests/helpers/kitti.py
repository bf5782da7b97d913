"""KITTI objects, and random scenes to try evaluations on."""
import math

import numpy as np

from mmdet_centernet.io.kitti import KittiObjects


def objects(rows, scored=False):
    """Return the ``KittiObjects`` of rows.

    A row is (type, truncated, occluded, alpha, box, dims, location, rotation_y, score).
    """
    types, truncated, occluded, alpha, boxes, dims, locations, turns, scores = (
        list(column) for column in zip(*rows)) if rows else ([] for _ in range(9))
    return KittiObjects(
        types, np.array(truncated, float), np.array(occluded, np.int64), np.array(alpha, float),
        np.array(boxes, float).reshape(-1, 4), np.array(dims, float).reshape(-1, 3),
        np.array(locations, float).reshape(-1, 3), np.array(turns, float),
        np.array(scores, float) if scored else None)


DIMS = dict(Car=(1.5, 1.6, 3.9), Van=(2.2, 1.9, 5.), Pedestrian=(1.75, .6, .8),
            Person_sitting=(1.3, .6, .8), Cyclist=(1.7, .6, 1.8), Tram=(3.5, 2.6, 16.))
FOCAL, CENTER = 720., (620., 180.)


def random_object(rng, name):
    """Return a row of ``objects`` in front of a camera, its box about as large as it looks."""
    dims = np.array(DIMS[name]) * rng.uniform(.9, 1.1, 3)
    z = rng.uniform(6, 60)
    x, y = rng.uniform(-.6, .6) * z, rng.uniform(1.4, 1.9)
    turn = rng.uniform(-math.pi, math.pi)
    u, v = FOCAL * x / z + CENTER[0], FOCAL * y / z + CENTER[1]
    width, height = FOCAL * dims[1:].mean() / z, FOCAL * dims[0] / z
    return [name, rng.choice([0, .1, .2, .4, .6], p=[.6, .1, .1, .1, .1]),
            int(rng.choice(4, p=[.5, .2, .2, .1])), turn - math.atan2(u - CENTER[0], FOCAL),
            np.array([u - width / 2, v - height, u + width / 2, v]), dims,
            np.array([x, y, z]), turn, 0.]


def detection_of(rng, truth, blur):
    """Return a blurred detection of an object, sometimes of the wrong class or rotated."""
    name, _, _, alpha, box, dims, location, turn, _ = truth
    size = np.tile(box[2:] - box[:2], 2)
    if name in ('Van', 'Person_sitting', 'Tram'):
        name = dict(Van='Car', Person_sitting='Pedestrian', Tram='Car')[name]
    if rng.random() < .1:
        name = str(rng.choice(['Pedestrian', 'Car', 'Cyclist']))
    around = math.pi * (rng.random() < .1)
    noise = rng.normal(0, blur * .3)
    return [name, -1, -1, alpha + around + noise, box + rng.normal(0, blur * .15, 4) * size,
            dims * np.exp(rng.normal(0, blur * .2, 3)),
            location + rng.normal(0, blur * .4, 3) * [1, .3, 1], turn + around + noise,
            round(float(np.clip(rng.normal(.7 - blur * .3, .2), 0, 1)), 2)]


def random_scenes(seed, images, most_objects=6, inventions=3):
    """Return labels and results with everything that the rules distinguish.

    Objects of all difficulties, neighbors, others, ``DontCare`` regions with detections in
    them; detections twice, none, of the wrong class, too small; scores of two decimals, so that
    many are equal; images without labels, without results and without both.

    Returns:
        tuple[list[KittiObjects], list[KittiObjects]]
    """
    rng = np.random.default_rng(seed)
    labels, results = [], []
    for _ in range(images):
        truths, detections = [], []
        for _ in range(rng.integers(0, most_objects + 1)):
            truth = random_object(rng, str(rng.choice(list(DIMS), p=[.4, .1, .2, .08, .17, .05])))
            truths.append(truth)
            for _ in range(rng.choice([0, 1, 2, 3], p=[.15, .5, .25, .1])):
                detections.append(detection_of(rng, truth, rng.choice([0, .3, 1.])))
            if rng.random() < .15:
                # Close beside: its detections are candidates of both.
                near = list(truth)
                near[4] = truth[4] + rng.normal(0, 2, 4)
                near[6] = truth[6] + rng.normal(0, .2, 3)
                truths.append(near)
        for _ in range(rng.integers(0, inventions + 1)):
            detections.append(detection_of(
                rng, random_object(rng, str(rng.choice(['Car', 'Pedestrian', 'Cyclist']))), 0))
        for _ in range(rng.integers(0, 3)):
            base = random_object(rng, 'Car')
            region = base[4] + [-30, -10, 30, 20]
            truths.append(['DontCare', -1, -1, -10, region, [-1] * 3, [-1000] * 3, -10, 0])
            if rng.random() < .7:
                detections.append(detection_of(rng, base, .3))
        if rng.random() < .08:
            truths = []
        if rng.random() < .08:
            detections = []
        labels.append(objects([truths[i] for i in rng.permutation(len(truths))]))
        results.append(objects([detections[i] for i in rng.permutation(len(detections))], True))
    return labels, results
