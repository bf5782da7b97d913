"""KITTI's evaluation, object by object.

Written from the rules of the development kit (readme and evaluate_object_3d.cpp): loops over
plain dicts, overlaps by shapely.
"""
import math

import shapely

LIMITS = dict(easy=(40, 0, .15), moderate=(25, 1, .3), hard=(25, 2, .5))
OFFICIAL = dict(Car=dict(image=.7, ground=.5, space=.5),
                Pedestrian=dict(image=.5, ground=.25, space=.25),
                Cyclist=dict(image=.5, ground=.25, space=.25))
STRICT = dict(Car=dict(image=.7, ground=.7, space=.7),
              Pedestrian=dict(image=.5, ground=.5, space=.5),
              Cyclist=dict(image=.5, ground=.5, space=.5))
NEIGHBOR = dict(Car='Van', Pedestrian='Person_sitting')


def as_dicts(objects):
    """Return the rows of a ``KittiObjects`` as dicts."""
    rows = []
    for i, name in enumerate(objects.types):
        rows.append(dict(
            type=name, truncated=float(objects.truncated[i]), occluded=int(objects.occluded[i]),
            alpha=float(objects.alpha[i]), box=[float(v) for v in objects.bboxes[i]],
            dims=[float(v) for v in objects.dims[i]],
            location=[float(v) for v in objects.locations[i]],
            rotation_y=float(objects.rotation_y[i]),
            score=None if objects.scores is None else float(objects.scores[i])))
    return rows


def image_overlap(detection, truth, over_detection=False):
    a, b = detection['box'], truth['box']
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    shared = width * height
    return shared / (area_a if over_detection else area_a + area_b - shared)


def footprint(item):
    x, _, z = item['location']
    _, w, length = item['dims']
    cos, sin = math.cos(item['rotation_y']), math.sin(item['rotation_y'])
    return shapely.Polygon([
        (x + cos * along + sin * across, z - sin * along + cos * across)
        for along, across in ((length / 2, w / 2), (length / 2, -w / 2),
                              (-length / 2, -w / 2), (-length / 2, w / 2))])


def ground_and_space_overlap(detection, truth):
    if math.dist(detection['location'], truth['location']) > 30:
        return 0., 0.
    # Where shapely fails on boxes that differ by rounding alone, all rules apply alike.
    a, b = footprint(detection), footprint(truth)
    shared = shapely.intersection(a, b, grid_size=1e-12).area
    bottom = min(detection['location'][1], truth['location'][1])
    top = max(detection['location'][1] - detection['dims'][0],
              truth['location'][1] - truth['dims'][0])
    volume = shared * max(0., bottom - top)
    volumes = math.prod(detection['dims']) + math.prod(truth['dims'])
    return shared / (a.area + b.area - shared), volume / (volumes - volume)


def prepare(labels, results):
    """Return scenes as lists of dicts, with the overlaps of all pairs by kind."""
    scenes = []
    for label, result in zip(labels, results):
        truths, detections = as_dicts(label), as_dicts(result)
        overlaps = dict(image={}, ground={}, space={})
        for i, truth in enumerate(truths):
            for j, detection in enumerate(detections):
                overlaps['image'][i, j] = image_overlap(detection, truth)
                if truth['type'] != 'DontCare':
                    overlaps['ground'][i, j], overlaps['space'][i, j] = (
                        ground_and_space_overlap(detection, truth))
        scenes.append((truths, detections, overlaps))
    return scenes


def sort_out(scene, name, level):
    """Return the state of each truth and detection: 0 counts, 1 is ignored, -1 is of others."""
    min_height, max_occlusion, max_truncation = LIMITS[level]
    truths, detections, _ = scene
    truth_states, detection_states = [], []
    for truth in truths:
        hard = (truth['occluded'] > max_occlusion or truth['truncated'] > max_truncation
                or truth['box'][3] - truth['box'][1] < min_height)
        if truth['type'] == name:
            truth_states.append(1 if hard else 0)
        elif truth['type'] == NEIGHBOR.get(name):
            truth_states.append(1)
        else:
            truth_states.append(-1)
    for detection in detections:
        if int(abs(detection['box'][3] - detection['box'][1])) < min_height:
            detection_states.append(1)
        else:
            detection_states.append(0 if detection['type'] == name else -1)
    return truth_states, detection_states


def find_scores(scene, states, overlaps, least):
    """Return the scores of the first round, in which each truth takes the surest detection."""
    truths, detections, _ = scene
    truth_states, detection_states = states
    taken, scores = set(), []
    for i in range(len(truths)):
        if truth_states[i] == -1:
            continue
        best = None
        for j, detection in enumerate(detections):
            if detection_states[j] == -1 or j in taken or not overlaps[i, j] > least:
                continue
            if best is None or detection['score'] > detections[best]['score']:
                best = j
        if best is not None:
            taken.add(best)
            if truth_states[i] == 0 and detection_states[best] == 0:
                scores.append(detections[best]['score'])
    return scores


def count(scene, states, overlaps, least, kind, threshold):
    """Return the numbers of found and false and the summed similarity at a threshold."""
    truths, detections, all_overlaps = scene
    truth_states, detection_states = states
    seen = [detection['score'] >= threshold for detection in detections]
    taken, found, similarity = set(), 0, 0.
    for i, truth in enumerate(truths):
        if truth_states[i] == -1:
            continue
        best, best_overlap, fallback = None, least, None
        for j in range(len(detections)):
            if detection_states[j] == -1 or j in taken or not seen[j]:
                continue
            if detection_states[j] == 0 and overlaps[i, j] > best_overlap:
                best, best_overlap = j, overlaps[i, j]
            elif detection_states[j] == 1 and overlaps[i, j] > least and fallback is None:
                fallback = j
        if best is not None:
            taken.add(best)
            if truth_states[i] == 0:
                found += 1
                similarity += (1 + math.cos(truth['alpha'] - detections[best]['alpha'])) / 2
        elif fallback is not None:
            taken.add(fallback)
    false = 0
    for j, detection in enumerate(detections):
        if detection_states[j] != 0 or j in taken or not seen[j]:
            continue
        if kind == 'image' and any(
                truth['type'] == 'DontCare' and image_overlap(detection, truth, True) > least
                for truth in truths):
            continue
        false += 1
    return found, false, similarity


def pick_thresholds(scores, total):
    scores = sorted(scores, reverse=True)
    picked, recall = [], 0.
    for i in range(len(scores)):
        left = (i + 1) / total
        right = (i + 2) / total if i < len(scores) - 1 else left
        if right - recall < recall - left and i < len(scores) - 1:
            continue
        picked.append(scores[i])
        recall += 1 / 40
    return picked


def curves(scenes, name, level, kind, least):
    """Return the number of objects, and precision and similarity at 41 steps."""
    states = [sort_out(scene, name, level) for scene in scenes]
    total = sum(states_of[0].count(0) for states_of in states)
    scores = []
    for scene, states_of in zip(scenes, states):
        scores += find_scores(scene, states_of, scene[2][kind], least)
    precision, similarity = [0.] * 41, [0.] * 41
    for step, threshold in enumerate(pick_thresholds(scores, total)):
        found = false = 0
        similar = 0.
        for scene, states_of in zip(scenes, states):
            if not scene[1]:
                continue
            counted = count(scene, states_of, scene[2][kind], least, kind, threshold)
            found, false, similar = (
                a + b for a, b in zip((found, false, similar), counted))
        if found + false:
            precision[step] = found / (found + false)
            similarity[step] = similar / (found + false)
    for values in (precision, similarity):
        for step in range(41):
            values[step] = max(values[step:])
    return total, precision, similarity


def average_slowly(curve, points):
    if points == 11:
        return sum(curve[step] for step in range(0, 41, 4)) / 11
    return sum(curve[1:]) / 40


def evaluate_slowly(labels, results, classes=('Pedestrian', 'Car', 'Cyclist')):
    """Return all figures by the package's names; NaN where there is nothing to find."""
    scenes = prepare(labels, results)
    figures, done = {}, {}
    for set_name, table in (('official', OFFICIAL), ('strict', STRICT)):
        for name in classes:
            for level in LIMITS:
                for metric, kind in (('2d', 'image'), ('aos', 'image'), ('bev', 'ground'),
                                     ('3d', 'space')):
                    key = name, level, kind, table[name][kind]
                    if key not in done:
                        done[key] = curves(scenes, *key)
                    total, precision, similarity = done[key]
                    curve = similarity if metric == 'aos' else precision
                    for points in (11, 40):
                        value = average_slowly(curve, points)
                        figures[f'{name}_{level}_{metric}_AP{points}_{set_name}'] = (
                            value if total else math.nan)
        for level in LIMITS:
            for metric in ('2d', 'aos', 'bev', '3d'):
                for points in (11, 40):
                    key = f'{level}_{metric}_AP{points}_{set_name}'
                    values = [figures[f'{name}_{key}'] for name in classes]
                    values = [value for value in values if not math.isnan(value)]
                    figures[f'mean_{key}'] = sum(values) / len(values) if values else math.nan
    return figures
