"""Comparison of an exported model with the detector that it was made from."""
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.runtime.detector import to_image
from mmdet_centernet.runtime.metadata import Metadata

# Largest differences of a detection that both find: pixels of the input, meters, radians, scores.
TOLERANCES = dict(
    bboxes=0.05, keypoints=0.05, scores=1e-3, keypoint_scores=1e-3, bboxes_3d=0.01, depth=0.01,
    alpha=1e-3)
# Those of branches, and of what other properties decode, in standard deviations.
SPREAD_TOLERANCE = 1e-3
LEAST_SPREAD = 1e-3  # of values that are all the same
# float32's, for values far from 0: a depth of 500 m, boxes of an untrained network.
RELATIVE = 1e-4
# Scores that differ by less may come in any order.
ROUNDING = 1e-5
# Fraction of the detections that may differ: where two neighboring cells of a heatmap are equal
# but for rounding, the peak may move.
STRAYS = 0.03
# An example of the way from the input to the original image.
EXAMPLE_MATRIX = np.array([[0.5, 0, 10], [0, 0.25, -20], [0, 0, 1]], np.float32)

Arrays = Mapping[str, NDArray[Any]]


def compare_detections(expected: Arrays, found: Arrays) -> tuple[dict[str, float], int, int]:
    """Compare the detections of two models, as sets.

    A detection is found if the other model has one of the same class with all fields within
    their tolerances. Those that score as the last one may be cut off in either, and do not count.

    Args:
        expected, found (dict[str, ndarray]): outputs by name, each [B, K, ...].

    Returns:
        tuple[dict[str, float], int, int]: the largest difference by name; how many of the
        expected were not found; how many were expected.
    """
    names = [name for name in expected if name != 'labels']
    tolerances = {name: TOLERANCES.get(name, _spread_tolerance(expected[name])) for name in names}
    largest = dict.fromkeys(names, 0.0)
    missing = total = 0
    for image, scores in enumerate(expected['scores']):
        for index in np.flatnonzero(scores > scores[-1] + ROUNDING):
            total += 1
            differences = {
                name: _differences(name, expected[name][image, index], found[name][image])
                for name in names}
            excess = np.max([
                (differences[name] / (
                    tolerances[name] + RELATIVE * np.abs(expected[name][image, index]))
                 ).reshape(len(scores), -1).max(axis=1) for name in names], axis=0)
            excess[found['labels'][image] != expected['labels'][image, index]] = np.inf
            nearest = int(np.nan_to_num(excess, nan=np.inf).argmin())
            if not excess[nearest] <= 1:
                missing += 1
                continue
            for name in names:
                largest[name] = max(largest[name], float(differences[name][nearest].max()))
    return largest, missing, total


def _differences(name: str, value: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Return the differences [K, ...] of values from one [...]; angles have a period."""
    differences: NDArray[Any] = np.abs(np.asarray(others, np.float64) - value)
    if name == 'alpha':
        return _wrap(differences)
    if name == 'bboxes_3d':  # the last one is an angle
        differences[..., -1] = _wrap(differences[..., -1])
    return differences


def _wrap(differences: NDArray[Any]) -> NDArray[Any]:
    """Return differences of angles in [0, pi]."""
    remainder = differences % (2 * np.pi)
    return np.minimum(remainder, 2 * np.pi - remainder)


def _spread_tolerance(values: NDArray[Any]) -> float:
    """Return the tolerance of values whose unit is not known."""
    return SPREAD_TOLERANCE * max(float(values.std()), LEAST_SPREAD)


def compare_branches(expected: Arrays, found: Arrays) -> dict[str, float]:
    """Return the largest difference of each branch, in its standard deviations."""
    return {
        name: float(np.abs(found[name] - values).max() / max(values.std(), 1e-6))
        for name, values in expected.items()}


def find_fault(expected: Arrays, found: Arrays, raw: bool) -> tuple[str | None, str]:
    """Compare the outputs of an exported model with the detector's.

    Args:
        expected, found (dict[str, ndarray]): outputs of the detector and of the model.
        raw (bool): the outputs are branches.

    Returns:
        tuple[str | None, str]: what is wrong with the model, if anything; what was seen, for the
        user.
    """
    for name, values in expected.items():
        if name not in found or found[name].shape != values.shape:
            return f'{name} has another shape', ''
        if not np.isfinite(found[name]).all() and np.isfinite(values).all():
            return f'{name} has values that are not finite', ''
    if raw:
        largest = compare_branches(expected, found)
        wrong = [name for name, value in largest.items() if not value <= SPREAD_TOLERANCE]
        seen = _listed(largest)
        return (f'{wrong[0]} differs by {largest[wrong[0]]:.2g} standard deviations' if wrong
                else None, f'largest differences, in standard deviations: {seen}')
    scores = np.abs(expected['scores'] - found['scores']).max()
    if not scores <= TOLERANCES['scores']:
        return f'scores differ by {scores:.2g}', ''
    largest, missing, total = compare_detections(expected, found)
    seen = (f'{total - missing} of {total} detections the same, largest differences: '
            f'{_listed(largest)}')
    if missing > STRAYS * total:
        return f'{missing} of {total} detections differ', seen
    return None, seen


def _listed(values: Mapping[str, float]) -> str:
    return ', '.join(f'{name} {value:.1e}' for name, value in values.items())


def check_mapping(head: CenterHead, metadata: Metadata, detections: Arrays) -> None:
    """Check that detections are mapped to the original image as by the head.

    Args:
        head (CenterHead): of the detector.
        metadata (Metadata): of the model.
        detections (dict[str, ndarray]): outputs [B, K, ...] of the detector.

    Raises:
        UserError: if a property maps its fields otherwise than it says in ``points``.
    """
    tensors = {name: torch.from_numpy(values[:1]) for name, values in detections.items()}
    matrices = torch.from_numpy(EXAMPLE_MATRIX)[None].double()
    expected = {**tensors, **head.to_image(tensors, matrices)}
    found = to_image({name: values[0] for name, values in detections.items()}, metadata,
                     EXAMPLE_MATRIX)
    for name, values in expected.items():
        if not np.allclose(found[name], values[0].numpy(), rtol=1e-4, atol=1e-3, equal_nan=True):
            raise UserError(
                f'{name} is mapped to the original image in a way that exported models do not '
                'know: name it in points of its property if it is a position (x, y) in pixels, '
                "and leave the property's to_image as it is")
