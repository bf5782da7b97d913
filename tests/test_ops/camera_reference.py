"""Cameras, boxes in space and binned angles, written out slowly: one by one, in float64.

The frame and the order of a box's numbers are KITTI's; the bins are the original's.
"""
import math

import numpy as np


def project_slowly(point, camera):
    """px of a point, by the rows of a 3x4 matrix."""
    u, v, w = (sum(row[i] * point[i] for i in range(3)) + row[3] for row in camera)
    return u / w, v / w


def unproject_slowly(pixel, depth, camera):
    """The point at a depth that is seen at a pixel: u w = P0 X and v w = P1 X, for x and y."""
    w = camera[2][2] * depth + camera[2][3]
    matrix = [[camera[0][0], camera[0][1]], [camera[1][0], camera[1][1]]]
    rest = [pixel[i] * w - camera[i][2] * depth - camera[i][3] for i in range(2)]
    x, y = np.linalg.solve(np.array(matrix, float), np.array(rest, float))
    return float(x), float(y), depth


def corners_slowly(box):
    """Eight points of (x, y, z, h, w, l, rotation_y), in the package's order."""
    x, y, z, height, width, length, angle = box
    points = []
    for up in (0, 1):
        for ahead, aside in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
            along, across = ahead * length / 2, aside * width / 2
            points.append((x + math.cos(angle) * along + math.sin(angle) * across,
                           y - up * height,
                           z - math.sin(angle) * along + math.cos(angle) * across))
    return points


def angle_between(one, other):
    """How far two angles are apart, in [0, pi]."""
    return abs(math.remainder(one - other, 2 * math.pi))


def bins_slowly(alpha):
    """The original's rule: for both bins whether the angle is in it, and its residual."""
    first = alpha < math.pi / 6 or alpha > 5 * math.pi / 6
    second = alpha > -math.pi / 6 or alpha < -5 * math.pi / 6
    return [(first, alpha + math.pi / 2), (second, alpha - math.pi / 2)]


def angle_slowly(channels):
    """What eight channels mean."""
    if channels[1] > channels[5]:
        angle = math.atan2(channels[2], channels[3]) - math.pi / 2
    else:
        angle = math.atan2(channels[6], channels[7]) + math.pi / 2
    return angle
