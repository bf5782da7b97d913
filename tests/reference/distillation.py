"""Losses between a student and its teachers, cell by cell in float64."""
import numpy as np


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values, np.float64)))


def is_peak(probabilities, channel, y, x):
    """Return True if no cell of the 3 x 3 around one is larger; probabilities [C, H, W]."""
    _, height, width = probabilities.shape
    return all(
        probabilities[channel, v, u] <= probabilities[channel, y, x]
        for v in range(max(y - 1, 0), min(y + 2, height))
        for u in range(max(x - 1, 0), min(x + 2, width)))


def heatmap_loss(student, teacher, pairs):
    """Return the squared error of probabilities, per expected object.

    Args:
        student, teacher: logits [B, C, H, W].
        pairs: (student's, teacher's) channel of each class that the teacher teaches.
    """
    total = mass = 0.0
    for image in range(len(student)):
        mine, other = sigmoid(student[image]), sigmoid(teacher[image])
        for a, b in pairs:
            for y, x in np.ndindex(mine.shape[1:]):
                total += (mine[a, y, x] - other[b, y, x]) ** 2
                if is_peak(other, b, y, x):
                    mass += other[b, y, x]
    return total / max(mass, 1)


def regression_loss(student, teacher, student_value, teacher_value, heatmap, channels):
    """Return the mean absolute error at the teacher's peaks, in proportion to their probability.

    Args:
        student, teacher: raw outputs [B, D, H, W].
        student_value, teacher_value: map a cell's raw output [D] to its value.
        heatmap: the teacher's logits [B, C, H, W].
        channels: of the heatmap that count.
    """
    total = mass = 0.0
    for image in range(len(student)):
        probabilities = sigmoid(heatmap[image])
        for y, x in np.ndindex(probabilities.shape[1:]):
            weight = max([probabilities[c, y, x] for c in channels
                          if is_peak(probabilities, c, y, x)], default=0.0)
            if weight:
                mine = student_value(student[image, :, y, x])
                other = teacher_value(teacher[image, :, y, x])
                total += weight * np.mean(np.abs(mine - other))
                mass += weight
    return total / max(mass, 1)
