"""3D boxes as in the original implementation, object by object.

Facts: sampling and decoding of xingyizhou/CenterNet's ddd task. Positions are cells unless said
otherwise; the camera frame is KITTI's.
"""
import math
from types import SimpleNamespace

import numpy as np

from reference.camera import (
    angle_slowly,
    bins_slowly,
    corners_slowly,
    project_slowly,
    unproject_slowly,
)
from reference.detection import STRIDE, box_slowly, center_slowly, locate_slowly
from reference.heatmap import draw_slowly, peaks_slowly
from reference.pose import moved

#: The class that objects of other types are ignored for; None: they are not, -1: every class.
IGNORED_FOR = dict(Van=1, Truck=1, Person_sitting=0, DontCare=-1, Tram=None, Misc=None)
#: Value of the original's heatmap where it is ignored: the loss has the factor 1e-16.
IGNORED = 0.9999


def sample_slowly(objects, shape, matrix, camera, region=False, augmented=False):
    """Return the targets of one image.

    Departures from the original, as documented in the coder: the center of an object is trained
    also where a later one is to be ignored; there is no limit of 50 objects.

    Args:
        objects (list[SimpleNamespace]): ``type`` (a class's number, or a name of
            ``IGNORED_FOR``), ``bbox`` (xyxy, px of the image), ``bbox_3d``, ``alpha``.
        shape (tuple[int, int, int]): C, H, W of the heatmap.
        matrix (ndarray[2, 3]): px of the image -> cells.
        camera (ndarray[3, 4]): of the image.
        region (bool): whole boxes are ignored, not their centers.
        augmented (bool): depths and dimensions are not trained.

    Returns:
        SimpleNamespace: ``heatmap`` [C, H, W], ``IGNORED`` where it is ignored; ``entries``, for
        each object (label, cell, (w, h), offset, depth, dims, inside, sines and cosines,
        location offset, weight of depth and dims).
    """
    classes, height, width = shape
    heatmap, entries = np.zeros(shape), []
    for each in objects:
        ignored_for = IGNORED_FOR[each.type] if isinstance(each.type, str) else None
        if isinstance(each.type, str) and ignored_for is None:
            continue
        box = *moved(each.bbox[:2], matrix), *moved(each.bbox[2:], matrix)
        place = locate_slowly(box, (height, width), round_up=False)
        if not place.inside:
            continue
        cell = place.x, place.y
        if isinstance(each.type, str):
            x1, x2 = (int(min(max(v, 0), width - 1)) for v in box[0::2])
            y1, y2 = (int(min(max(v, 0), height - 1)) for v in box[1::2])
            for label in range(classes) if ignored_for == -1 else [ignored_for]:
                if region:
                    heatmap[label, y1:y2 + 1, x1:x2 + 1] = IGNORED
                else:
                    draw_slowly(heatmap[label], *cell, place.radius)
                    heatmap[label, cell[1], cell[0]] = IGNORED
            continue
        draw_slowly(heatmap[each.type], *cell, place.radius)
        x, y, z, *dims, _ = each.bbox_3d
        seen = moved(project_slowly((x, y - dims[0] / 2, z), camera), matrix)
        bins = bins_slowly(each.alpha)
        entries.append((
            each.type, cell, place.wh, place.offset, z, dims,
            [inside for inside, _ in bins], [(math.sin(r), math.cos(r)) for _, r in bins],
            (seen[0] - cell[0], seen[1] - cell[1]), 0 if augmented else 1))
    for label, (x, y), *_ in entries:
        heatmap[label, y, x] = 1
    return SimpleNamespace(heatmap=heatmap, entries=entries)


def decode_slowly(output, camera, count):
    """Return the detections of one image.

    A departure: the original takes depth for ``w``, which is depth plus the camera's last entry.

    Args:
        output (dict[str, ndarray[channels, H, W]]): by our branch names, the heatmap as
            probabilities; ``wh``, ``offset`` and ``location_offset`` are not needed.
        camera (ndarray[3, 4]): of the network's input image.
        count (int): detections.

    Returns:
        list[tuple]: (score, label, box xyxy px, 3D box, alpha, depth), best first.
    """
    found = []
    for score, label, x, y in peaks_slowly(output['heatmap'])[:count]:
        at = {name: values[:, y, x] for name, values in output.items()}
        seen = tuple(STRIDE * v for v in center_slowly(output, x, y))
        if 'location_offset' in at:
            seen = STRIDE * (x + at['location_offset'][0]), STRIDE * (y + at['location_offset'][1])
        depth = 1 / (1 / (1 + math.exp(-at['depth'][0]))) - 1
        height, width, length = at['dims']
        px, py, pz = unproject_slowly(seen, depth, camera)
        alpha = angle_slowly(at['orientation'])
        rotation = alpha + math.atan2(seen[0] - camera[0][2], camera[0][0])
        box = px, py + height / 2, pz, height, width, length, rotation
        if 'wh' in at:
            around = tuple(STRIDE * v for v in box_slowly(output, x, y))
        else:
            corners = [project_slowly((cx, cy, max(cz, 0.1)), camera)
                       for cx, cy, cz in corners_slowly(box)]
            us, vs = zip(*corners)
            around = min(us), min(vs), max(us), max(vs)
        found.append((score, label, around, box, alpha, depth))
    return found
