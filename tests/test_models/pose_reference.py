"""The original's way with poses, written out slowly: person by person, in float64.

Facts: sampling, losses and decoding of xingyizhou/CenterNet's multi_pose task. Positions are
cells unless said otherwise.
"""
import math
from types import SimpleNamespace

import numpy as np

STRIDE = 4


def warp_by_points(center, side, angle, size):
    """The 2x3 matrix of the original's crop, from where three points come to lie.

    Args:
        center (tuple[float, float]): px of the image; comes to the middle.
        side (float): px of the image that the crop's side shows.
        angle (float): degrees.
        size (int): side of the output.
    """
    turn = math.radians(angle)
    up = np.array([math.sin(turn), -math.cos(turn)]) * side / 2
    center, middle = np.array(center, dtype=float), np.array([size / 2, size / 2])
    right = np.array([-up[1], up[0]])  # a quarter turn from up
    source = np.array([center, center + up, center + right])
    target = np.array([middle, middle + [0, -size / 2], middle + [size / 2, 0]])
    return np.linalg.solve(np.column_stack([source, np.ones(3)]), target).T


def moved(point, matrix):
    return tuple(matrix @ np.array([point[0], point[1], 1.0]))


def radius_slowly(height, width, overlap=0.7):
    roots = []
    for a, b, c in [
        (1, height + width, width * height * (1 - overlap) / (1 + overlap)),
        (4, 2 * (height + width), (1 - overlap) * width * height),
        (4 * overlap, -2 * overlap * (height + width), (overlap - 1) * width * height),
    ]:
        roots.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return max(0, int(min(roots)))


def draw(plane, x, y, radius):
    """A Gaussian into an ndarray[H, W], the larger value stays."""
    sigma = (2 * radius + 1) / 6
    height, width = plane.shape
    for row in range(max(0, y - radius), min(height, y + radius + 1)):
        for column in range(max(0, x - radius), min(width, x + radius + 1)):
            value = math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
            plane[row, column] = max(plane[row, column], value)


def sample_slowly(people, shape, box_matrix, joint_matrix, mirror=None):
    """Targets of one image.

    Args:
        people (list[tuple]): ``(label, box, joints)`` in px of the image: xyxy, and K times
            (x, y, visibility).
        shape (tuple[int, int, int, int]): C, K, H, W of the heat maps.
        box_matrix, joint_matrix (ndarray[2, 3]): px of the (mirrored) image -> cells. They
            differ if the crop is rotated.
        mirror (tuple[int, list[int]], optional): width of the image and where each joint is
            after mirroring.

    Returns:
        SimpleNamespace: ``heatmap`` [C, H, W] (None if rotated), ``keypoint_heatmap``
        [K, H, W], ``objects`` (label, (x, y), (w, h), offset), ``displacements``
        ((x, y), joint, (dx, dy)) and ``joints`` (joint, (x, y), offset).
    """
    classes, num_joints, height, width = shape
    heatmap, joint_heatmap = np.zeros((classes, height, width)), np.zeros(
        (num_joints, height, width))
    objects, displacements, joints_found = [], [], []
    rotated = not np.array_equal(box_matrix, joint_matrix)
    for label, box, joints in people:
        x1, y1, x2, y2 = box
        if mirror:
            image_width, places = mirror
            x1, x2 = image_width - 1 - x2, image_width - 1 - x1
            joints = [joints[places[j]] for j in range(num_joints)]
            joints = [(image_width - 1 - x, y, v) for x, y, v in joints]
        (x1, y1), (x2, y2) = moved((x1, y1), box_matrix), moved((x2, y2), box_matrix)
        x1, x2 = (min(max(v, 0), width - 1) for v in (x1, x2))
        y1, y2 = (min(max(v, 0), height - 1) for v in (y1, y2))
        w, h = x2 - x1, y2 - y1
        if not (w > 0 and h > 0) and not rotated:
            continue
        radius = radius_slowly(math.ceil(h), math.ceil(w))
        center = (x1 + x2) / 2, (y1 + y2) / 2
        cell = int(center[0]), int(center[1])
        if sum(v for _, _, v in joints):
            objects.append((label, cell, (w, h), (center[0] - cell[0], center[1] - cell[1])))
        for j, (x, y, v) in enumerate(joints):
            x, y = moved((x, y), joint_matrix)
            if v > 0 and 0 <= x < width and 0 <= y < height:
                displacements.append((cell, j, (x - cell[0], y - cell[1])))
                joints_found.append((j, (int(x), int(y)), (x - int(x), y - int(y))))
                draw(joint_heatmap[j], int(x), int(y), radius)
        draw(heatmap[label], *cell, radius)
    if rotated:  # its centres, sizes, offsets and displacements are not learnt
        return SimpleNamespace(heatmap=None, keypoint_heatmap=joint_heatmap, objects=[],
                               displacements=[], joints=joints_found)
    return SimpleNamespace(heatmap=heatmap, keypoint_heatmap=joint_heatmap, objects=objects,
                           displacements=displacements, joints=joints_found)


def peaks_slowly(plane):
    """(score, x, y) of the cells of an ndarray[H, W] that no neighbour exceeds, best first."""
    found = []
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            if plane[y, x] == plane[max(y - 1, 0):y + 2, max(x - 1, 0):x + 2].max():
                found.append((plane[y, x], x, y))
    return sorted(found, key=lambda peak: -peak[0])


def decode_slowly(output, count):
    """Detections of one image.

    Args:
        output (dict[str, ndarray[channels, H, W]]): by our branch names, heat maps as
            probabilities; ``wh`` is needed, the offsets and the joint heat map are not.
        count (int): detections, and peaks per joint.

    Returns:
        list[tuple]: (score, label, box xyxy, [(x, y, score) of each joint]), best first; px.
    """
    peaks = [(score, label, x, y) for label, plane in enumerate(output['heatmap'])
             for score, x, y in peaks_slowly(plane)]
    joint_peaks = []
    for plane in output.get('keypoint_heatmap', ()):
        joint_peaks.append([])
        for score, x, y in peaks_slowly(plane)[:count]:
            dx, dy = output['keypoint_offset'][:, y, x] if 'keypoint_offset' in output else (
                0.5, 0.5)
            if score > 0.1:
                joint_peaks[-1].append((x + dx, y + dy, score))
    found = []
    for score, label, x, y in sorted(peaks, key=lambda peak: -peak[0])[:count]:
        dx, dy = output['offset'][:, y, x] if 'offset' in output else (0.5, 0.5)
        w, h = output['wh'][:, y, x]
        x1, y1, x2, y2 = x + dx - w / 2, y + dy - h / 2, x + dx + w / 2, y + dy + h / 2
        joints = []
        for j in range(len(output['keypoint_displacement']) // 2):
            joint_x = x + output['keypoint_displacement'][2 * j, y, x]
            joint_y = y + output['keypoint_displacement'][2 * j + 1, y, x]
            joint = joint_x, joint_y, score
            if joint_peaks and joint_peaks[j]:
                distance, nearest = min(
                    (math.hypot(joint_x - px, joint_y - py), index)
                    for index, (px, py, _) in enumerate(joint_peaks[j]))
                px, py, peak_score = joint_peaks[j][nearest]
                if x1 <= px <= x2 and y1 <= py <= y2 and distance <= 0.3 * max(w, h):
                    joint = px, py, peak_score
            joints.append((STRIDE * joint[0], STRIDE * joint[1], joint[2]))
        found.append((score, label, [STRIDE * v for v in (x1, y1, x2, y2)], joints))
    return found
