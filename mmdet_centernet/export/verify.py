"""Does an exported model find what the detector finds?"""
import numpy as np

# Of a detection that both find: pixels of the input, metres, radians, scores.
TOLERANCES = dict(
    bboxes=0.05, keypoints=0.05, scores=1e-3, keypoint_scores=1e-3, bboxes_3d=0.01, depth=0.01,
    alpha=1e-3)
# Values far from 0 in float32: a depth of 500 m, boxes of an untrained network.
RELATIVE = 1e-4
# Scores that differ by less may come in any order.
ROUNDING = 1e-5
# Branches, in terms of their own spread.
RAW_TOLERANCE = 1e-3
# Of each 100 detections this many may be others: where two neighbouring cells of a heat map are
# equal but for rounding, the peak may move.
STRAYS = 0.03
ANGLES = ('alpha', )


def compare_detections(expected, found):
    """How far the detections of two models lie apart, as sets.

    A detection that both have is one of the same class whose box and score are nearest. Those
    that score as the least one does may be cut off in either.

    Args:
        expected, found (dict[str, ndarray]): outputs by name, each [B, K, ...].

    Returns:
        tuple[dict[str, float], int, int]: the largest difference by name; how many of the
        expected were not found; of how many.
    """
    largest = dict.fromkeys((name for name in expected if name != 'labels'), 0.0)
    missing = total = 0
    for image in range(len(expected['scores'])):
        of_image = {name: values[image].astype(np.float64) for name, values in expected.items()}
        others = {name: values[image].astype(np.float64) for name, values in found.items()}
        scores = of_image['scores']
        sure = scores > scores[-1:] + ROUNDING
        for index in np.flatnonzero(sure):
            total += 1
            distance = np.abs(others['bboxes'] - of_image['bboxes'][index]).max(axis=1)
            distance = distance + 100 * np.abs(others['scores'] - scores[index])
            distance[others['labels'] != of_image['labels'][index]] = np.inf
            nearest = int(distance.argmin())
            differences, close = {}, np.isfinite(distance[nearest])
            for name in largest:
                want = of_image[name][index]
                difference = np.abs(others[name][nearest] - want)
                if name in ANGLES:
                    difference = np.minimum(difference, 2 * np.pi - difference)
                if name == 'bboxes_3d':  # the last is an angle
                    turn = difference[-1] % (2 * np.pi)
                    difference = np.append(difference[:-1], min(turn, 2 * np.pi - turn))
                close &= bool((difference <= TOLERANCES[name] + RELATIVE * np.abs(want)).all())
                differences[name] = float(difference.max())
            if not close:
                missing += 1
                continue
            for name, difference in differences.items():
                largest[name] = max(largest[name], difference)
    return largest, missing, total


def compare_branches(expected, found):
    """The largest difference of each branch, in terms of its standard deviation."""
    return {
        name: float(np.abs(found[name] - values).max() / max(values.std(), 1e-6))
        for name, values in expected.items()}


def fault(expected, found, raw):
    """What is wrong with an exported model, if anything.

    Args:
        expected, found (dict[str, ndarray]): outputs of the detector and of the model.
        raw (bool): They are branches.

    Returns:
        tuple[str | None, str]: the fault; what was seen, for the user.
    """
    for name, values in expected.items():
        if name not in found or found[name].shape != values.shape:
            return f'{name} has another shape', ''
        if not np.isfinite(found[name]).all() and np.isfinite(values).all():
            return f'{name} has values that are no numbers', ''
    if raw:
        largest = compare_branches(expected, found)
        wrong = [name for name, value in largest.items() if not value <= RAW_TOLERANCE]
        seen = ', '.join(f'{name} {value:.1e}' for name, value in largest.items())
        return (f'{wrong[0]} differs by {largest[wrong[0]]:.2g} of its spread' if wrong else None,
                f'largest differences, of the spread of each: {seen}')
    scores = np.abs(expected['scores'] - found['scores']).max()
    if not scores <= TOLERANCES['scores']:
        return f'scores differ by {scores:.2g}', ''
    largest, missing, total = compare_detections(expected, found)
    seen = ', '.join(f'{name} {value:.1e}' for name, value in largest.items())
    seen = f'{total - missing} of {total} detections the same, largest differences: {seen}'
    if missing > STRAYS * total:
        return f'{missing} of {total} detections are others', seen
    return None, seen
