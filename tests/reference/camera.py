"""Cameras, 3D boxes and binned angles, one by one.

The camera frame and the order of a box's numbers are KITTI's; the bins are those of the original
implementation.
"""
import math

import numpy as np


def project_slowly(point, camera):
    """Return the pixel of a point, by the rows of a 3x4 matrix."""
    u, v, w = (sum(row[i] * point[i] for i in range(3)) + row[3] for row in camera)
    return u / w, v / w


def unproject_slowly(pixel, depth, camera):
    """Return the point at a depth that is seen at a pixel.

    Solves u w = P0 X and v w = P1 X for x and y.
    """
    w = camera[2][2] * depth + camera[2][3]
    matrix = [[camera[0][0], camera[0][1]], [camera[1][0], camera[1][1]]]
    rest = [pixel[i] * w - camera[i][2] * depth - camera[i][3] for i in range(2)]
    x, y = np.linalg.solve(np.array(matrix, float), np.array(rest, float))
    return float(x), float(y), depth


def corners_slowly(box):
    """Return the eight corners of (x, y, z, h, w, l, rotation_y), in the package's order."""
    x, y, z, height, width, length, angle = box
    points = []
    for up in (0, 1):
        for ahead, aside in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
            along, across = ahead * length / 2, aside * width / 2
            points.append((x + math.cos(angle) * along + math.sin(angle) * across,
                           y - up * height,
                           z - math.sin(angle) * along + math.cos(angle) * across))
    return points


def wrap_slowly(angle):
    """Return an angle in [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def angle_between(one, other):
    """Return the difference of two angles, in [0, pi]."""
    return abs(math.remainder(one - other, 2 * math.pi))


def bins_slowly(alpha):
    """Return (is the angle inside, its residual) of both bins, by the original's rule."""
    first = alpha < math.pi / 6 or alpha > 5 * math.pi / 6
    second = alpha > -math.pi / 6 or alpha < -5 * math.pi / 6
    return [(first, alpha + math.pi / 2), (second, alpha - math.pi / 2)]


def angle_slowly(channels):
    """Return the angle that eight channels mean."""
    if channels[1] > channels[5]:
        return math.atan2(channels[2], channels[3]) - math.pi / 2
    return math.atan2(channels[6], channels[7]) + math.pi / 2
