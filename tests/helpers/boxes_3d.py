"""Random cameras and 3D boxes, in px of the network's input unless said otherwise."""
import math
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.structures import InstanceData
from reference.camera import corners_slowly, project_slowly, wrap_slowly
from reference.detection import STRIDE
from reference.mono3d import IGNORED_FOR

CLASSES = 3
CHANNELS = dict(heatmap=CLASSES, depth=1, orientation=8, dims=3, wh=2, offset=2,
                location_offset=2)
#: Minimum and maximum height, width and length of each class.
SIZES = [((1.5, 0.4, 0.4), (2.0, 0.9, 1.2)), ((1.3, 1.4, 3.0), (2.4, 2.1, 6.5)),
         ((1.5, 0.4, 1.2), (1.9, 0.8, 2.0))]
CAMERA = np.array([[100.0, 0, 48, 5], [0, 100, 24, 0.2], [0, 0, 1, 0.003]])
CELLS = np.array([[1 / STRIDE, 0, 0], [0, 1 / STRIDE, 0]])


def make_camera(rng, width, height):
    """Return a camera like KITTI's: its last column is not zero."""
    focal = rng.uniform(0.4, 0.8) * width
    return np.array([
        [focal, 0, width * rng.uniform(0.45, 0.55), rng.uniform(-60, 60)],
        [0, focal * rng.uniform(0.98, 1.02), height * rng.uniform(0.4, 0.6), rng.uniform(-1, 1)],
        [0, 0, 1, rng.uniform(-0.006, 0.006)]])


def make_object(rng, camera, seen, depth, around=None, kind=None):
    """Return an object whose center is seen at a pixel.

    Its 2D box is ``around`` (width, height) that pixel, px, or the one around its corners.
    """
    label = int(rng.integers(CLASSES)) if kind is None else kind
    low, high = SIZES[label if isinstance(label, int) else 1]
    dims = rng.uniform(low, high)
    w = depth + camera[2, 3]
    x = (seen[0] * w - camera[0, 2] * depth - camera[0, 3]) / camera[0, 0]
    y = (seen[1] * w - camera[1, 2] * depth - camera[1, 3]) / camera[1, 1]
    rotation = rng.uniform(-math.pi, math.pi)
    box = (x, y + dims[0] / 2, depth, *dims, rotation)
    if around is None:
        us, vs = zip(*(project_slowly(point, camera) for point in corners_slowly(box)))
        bbox = min(us), min(vs), max(us), max(vs)
    else:
        bbox = (seen[0] - around[0] / 2, seen[1] - around[1] / 2,
                seen[0] + around[0] / 2, seen[1] + around[1] / 2)
    alpha = wrap_slowly(rotation - math.atan2(seen[0] - camera[0, 2], camera[0, 0]))
    return SimpleNamespace(type=label, bbox=bbox, bbox_3d=box, alpha=alpha)


def make_scene(rng, width, height, count, ignored=True):
    """Return a camera and random objects in and around its image, some of other types."""
    camera = make_camera(rng, width, height)
    objects = []
    for number in range(count):
        seen, depth = rng.uniform(0, 1, 2) * (width, height), rng.uniform(5, 60)
        kind = str(rng.choice(list(IGNORED_FOR))) if ignored and number % 2 else None
        around = rng.uniform(0.02, 0.4, 2) * (width, height) if number % 3 else None
        objects.append(make_object(rng, camera, seen, depth, around, kind))
        objects[-1].alpha = rng.uniform(-math.pi, math.pi)
    return camera, objects


def box_at(x, y, w, h, kind):
    """Return an object around a pixel of :data:`CAMERA`'s image."""
    return SimpleNamespace(
        type=kind, bbox=(x - w / 2, y - h / 2, x + w / 2, y + h / 2),
        bbox_3d=(1.0, 2.0, 20.0, 1.5, 1.6, 4.0, 0.5), alpha=0.4)


def scattered(rng, width, height, count, margin):
    """Return positions (px) in an image whose cells are at least two apart."""
    places = []
    while len(places) < count:
        place = rng.uniform(margin, 1 - margin, 2) * (width, height)
        if all(max(abs(place - other)) > 2 * STRIDE for other in places):
            places.append(place)
    return places


def tensors(objects):
    """Return bboxes, labels, bboxes_3d and alphas of the objects of a class; and bboxes and
    labels of those to be ignored."""
    known = [each for each in objects if not isinstance(each.type, str)]
    ignored = [each for each in objects
               if isinstance(each.type, str) and IGNORED_FOR[each.type] is not None]

    def table(rows, columns):
        return torch.tensor(rows, dtype=torch.float32).view(-1, columns)

    return (table([each.bbox for each in known], 4),
            torch.tensor([each.type for each in known], dtype=torch.int64),
            table([each.bbox_3d for each in known], 7),
            torch.tensor([each.alpha for each in known]),
            table([each.bbox for each in ignored], 4),
            torch.tensor([IGNORED_FOR[each.type] for each in ignored], dtype=torch.int64))


def arguments(scenes, augmented=None, **metas):
    """Return what the detector passes to ``loss_by_feat`` besides the outputs: instances,
    metainfo and ignored instances of scenes (camera, objects)."""
    known, ignored = [], []
    for _, objects in scenes:
        boxes, labels, boxes_3d, alpha, ignored_boxes, ignored_labels = tensors(objects)
        known.append(InstanceData(bboxes=boxes, labels=labels, bboxes_3d=boxes_3d, alpha=alpha))
        ignored.append(InstanceData(bboxes=ignored_boxes, labels=ignored_labels))
    return known, [
        dict(cam2img=camera, augmented=bool(each), **metas)
        for (camera, _), each in zip(scenes, augmented or [False] * len(scenes))], ignored


def random_output(rng, height, width):
    """Return outputs with distinct logits and boxes 1 to 60 m away."""
    def uniform(channels, low, high):
        return rng.uniform(low, high, (channels, height, width))

    return dict(
        heatmap=rng.normal(-1, 2, (CLASSES, height, width)),
        depth=uniform(1, -math.log(60), 0), dims=uniform(3, 0.5, 5),
        orientation=rng.normal(0, 1, (8, height, width)), wh=uniform(2, -1, 14),
        offset=uniform(2, 0, 1), location_offset=uniform(2, -5, 5))
