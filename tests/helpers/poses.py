"""Random people for the pose head, in px of the network's input."""
import numpy as np
import torch
from mmengine.structures import InstanceData
from reference.detection import STRIDE

CLASSES, KEYPOINTS = 2, 5
PLACES = [0, 2, 1, 4, 3]  # of the keypoints in a flipped image
PAIRS = [(1, 2), (3, 4)]
CHANNELS = dict(heatmap=CLASSES, keypoint_displacement=2 * KEYPOINTS, wh=2, offset=2,
                keypoint_heatmap=KEYPOINTS, keypoint_offset=2)
UPRIGHT, ROTATED = np.eye(3), np.array([[0.8, 0.6, 3], [-0.6, 0.8, 5], [0, 0, 1.0]])


def make_people(rng, width, height, count):
    """Return (label, box, keypoints): keypoints in and around boxes that reach over the
    border."""
    people = []
    for number in range(count):
        center = rng.uniform(0, 1, 2) * (width, height)
        size = rng.uniform(4, 60, 2)
        box = (*(center - size / 2), *(center + size / 2))
        keypoints = [(*(center + rng.uniform(-0.7, 0.7, 2) * size), int(v))
                     for v in rng.integers(0, 3, KEYPOINTS)]
        if number % 4 == 3:
            keypoints = [(0.0, 0.0, 0)] * KEYPOINTS  # a person, or a crowd, without keypoints
        people.append((int(rng.integers(CLASSES)), box, keypoints))
    return people


def stick_figures(rng, centers, spread):
    """Return people around given centers (px); each keypoint has a cell of its own, because a
    cell has one keypoint offset."""
    people, taken = [], set()
    for center in centers:
        half = rng.uniform(18, 26, 2)
        keypoints = []
        for _ in range(KEYPOINTS):
            while True:
                x, y = center + rng.uniform(-spread, spread, 2) * half
                cell = int(x / STRIDE), int(y / STRIDE)
                if cell not in taken:
                    break
            taken.add(cell)
            keypoints.append((x, y, 2))
        people.append(
            (int(rng.integers(CLASSES)), (*(center - half), *(center + half)), keypoints))
    return people


def instances_of(scenes, num_keypoints=KEYPOINTS):
    """Return the ground truth of scenes, each a list of people."""
    instances = []
    for people in scenes:
        keypoints = torch.tensor([each for _, _, each in people], dtype=torch.float32).view(
            -1, num_keypoints, 3)
        instances.append(InstanceData(
            bboxes=torch.tensor([box for _, box, _ in people], dtype=torch.float32).view(-1, 4),
            labels=torch.tensor([label for label, _, _ in people]).long(),
            keypoints=keypoints[..., :2], keypoints_visible=keypoints[..., 2]))
    return instances


def metas_of(rotated):
    """Return metainfo of images that are rotated or not."""
    return [dict(homography_matrix=ROTATED if each else UPRIGHT) for each in rotated]


def random_output(rng, height, width):
    """Return outputs with distinct logits; keypoint peaks lie around the regressed keypoints."""
    return dict(
        heatmap=rng.normal(-1, 2, (CLASSES, height, width)),
        wh=rng.uniform(-1, 14, (2, height, width)), offset=rng.uniform(0, 1, (2, height, width)),
        keypoint_displacement=rng.normal(0, 3, (2 * KEYPOINTS, height, width)),
        keypoint_heatmap=rng.normal(-2.5, 2, (KEYPOINTS, height, width)),
        keypoint_offset=rng.uniform(0, 1, (2, height, width)))
