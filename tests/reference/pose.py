"""Poses as in the original implementation, person by person.

Facts: sampling, losses and decoding of xingyizhou/CenterNet's multi_pose task. Positions are
cells unless said otherwise.
"""
import math
from types import SimpleNamespace

import numpy as np

from reference.detection import STRIDE, box_slowly, locate_slowly
from reference.heatmap import draw_slowly, nearest_peaks_slowly, owners_slowly, peaks_slowly


def warp_by_points(center, side, angle, size):
    """Return the 2x3 matrix of the original's crop, from where three points come to lie.

    Args:
        center (tuple[float, float]): px of the image; comes to the middle.
        side (float): px of the image that the crop's side shows.
        angle (float): degrees.
        size (int): side of the output.
    """
    rotation = math.radians(angle)
    up = np.array([math.sin(rotation), -math.cos(rotation)]) * side / 2
    center, middle = np.array(center, dtype=float), np.array([size / 2, size / 2])
    right = np.array([-up[1], up[0]])  # at a right angle to up
    source = np.array([center, center + up, center + right])
    target = np.array([middle, middle + [0, -size / 2], middle + [size / 2, 0]])
    return np.linalg.solve(np.column_stack([source, np.ones(3)]), target).T


def moved(point, matrix):
    """Return a point through a 2x3 matrix."""
    return tuple(matrix @ np.array([point[0], point[1], 1.0]))


def sample_slowly(people, shape, box_matrix, keypoint_matrix, flip=None):
    """Return the targets of one image.

    Args:
        people (list[tuple]): ``(label, box, keypoints)`` in px of the image: xyxy, and K times
            (x, y, visibility).
        shape (tuple[int, int, int, int]): C, K, H, W of the heatmaps.
        box_matrix, keypoint_matrix (ndarray[2, 3]): px of the (flipped) image -> cells. They
            differ if the crop is rotated.
        flip (tuple[int, list[int]], optional): width of the image and the index of each keypoint
            after flipping.

    Returns:
        SimpleNamespace: ``heatmap`` [C, H, W] (None if rotated), ``keypoint_heatmap``
        [K, H, W], ``objects`` (label, (x, y), (w, h), offset), ``displacements``
        ((x, y), keypoint, (dx, dy)), ``keypoints`` (keypoint, (x, y), offset), and ``radii`` of
        the objects that have displacements, by their (x, y).
    """
    classes, num_keypoints, height, width = shape
    heatmap = np.zeros((classes, height, width))
    keypoint_heatmap = np.zeros((num_keypoints, height, width))
    objects, displacements, found = [], [], []
    rotated = not np.array_equal(box_matrix, keypoint_matrix)
    for label, box, keypoints in people:
        x1, y1, x2, y2 = box
        if flip:
            image_width, places = flip
            x1, x2 = image_width - 1 - x2, image_width - 1 - x1
            keypoints = [keypoints[places[k]] for k in range(num_keypoints)]
            keypoints = [(image_width - 1 - x, y, v) for x, y, v in keypoints]
        place = locate_slowly(
            (*moved((x1, y1), box_matrix), *moved((x2, y2), box_matrix)), (height, width))
        if not place.inside and not rotated:
            continue
        cell = place.x, place.y
        if sum(v for _, _, v in keypoints):
            objects.append((label, cell, place.wh, place.offset))
        for k, (x, y, v) in enumerate(keypoints):
            x, y = moved((x, y), keypoint_matrix)
            if v > 0 and 0 <= x < width and 0 <= y < height:
                displacements.append((cell, k, (x - cell[0], y - cell[1])))
                found.append((k, (int(x), int(y)), (x - int(x), y - int(y))))
                draw_slowly(keypoint_heatmap[k], int(x), int(y), place.radius)
        draw_slowly(heatmap[label], *cell, place.radius)
    if rotated:  # its centers, sizes, offsets and displacements are not trained
        return SimpleNamespace(heatmap=None, keypoint_heatmap=keypoint_heatmap, objects=[],
                               displacements=[], keypoints=found)
    return SimpleNamespace(heatmap=heatmap, keypoint_heatmap=keypoint_heatmap, objects=objects,
                           displacements=displacements, keypoints=found)


def dense_slowly(people, size, num_keypoints):
    """Return {(keypoint, y, x): (Gaussian, displacement from that cell)} of one image.

    Of the people who have the keypoint the one with the largest Gaussian counts, the last of
    equal ones.

    Args:
        people (list[tuple]): see :func:`sample_slowly`; in px of the network's input.
        size (tuple[int, int]): H, W.
        num_keypoints (int): K.
    """
    height, width = size
    having = [[] for _ in range(num_keypoints)]
    for _, box, keypoints in people:
        place = locate_slowly([v / STRIDE for v in box], size)
        for k, (x, y, v) in enumerate(keypoints):
            x, y = x / STRIDE, y / STRIDE
            if place.inside and v > 0 and 0 <= x < width and 0 <= y < height:
                having[k].append((place, (x, y)))
    found = {}
    for k, entries in enumerate(having):
        owners = owners_slowly([(place.x, place.y) for place, _ in entries],
                               [place.radius for place, _ in entries], size)
        for (y, x), (value, index) in owners.items():
            px, py = entries[index][1]
            found[k, y, x] = value, (px - x, py - y)
    return found


def decode_slowly(output, count, snap_score=0.1, snap_distance=0.3):
    """Return the detections of one image.

    Args:
        output (dict[str, ndarray[channels, H, W]]): by our branch names, heatmaps as
            probabilities; ``wh`` is needed, the offsets and the keypoint heatmap are not.
        count (int): detections, and peaks per keypoint.
        snap_score, snap_distance (float): the original's thresholds.

    Returns:
        list[tuple]: (score, label, box xyxy, [(x, y, score) of each keypoint]), best first; px.
    """
    candidates = []
    for plane in output.get('keypoint_heatmap', ()):
        candidates.append([])
        for score, _, x, y in peaks_slowly(plane[None])[:count]:
            dx, dy = output['keypoint_offset'][:, y, x] if 'keypoint_offset' in output else (
                0.5, 0.5)
            candidates[-1].append((x + dx, y + dy, score))
    found = []
    for score, label, x, y in peaks_slowly(output['heatmap'])[:count]:
        x1, y1, x2, y2 = box_slowly(output, x, y)
        keypoints = []
        for k in range(len(output['keypoint_displacement']) // 2):
            keypoint = (x + output['keypoint_displacement'][2 * k, y, x],
                        y + output['keypoint_displacement'][2 * k + 1, y, x], score)
            nearest = nearest_peaks_slowly(keypoint, candidates[k] if candidates else (),
                                           snap_score)
            if nearest is not None:
                distance, index = nearest
                px, py, peak_score = candidates[k][index]
                if x1 <= px <= x2 and y1 <= py <= y2 and (
                        distance <= snap_distance * max(x2 - x1, y2 - y1)):
                    keypoint = px, py, peak_score
            keypoints.append((STRIDE * keypoint[0], STRIDE * keypoint[1], keypoint[2]))
        found.append((score, label, [STRIDE * v for v in (x1, y1, x2, y2)], keypoints))
    return found
