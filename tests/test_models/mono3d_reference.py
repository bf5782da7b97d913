"""The original's way with 3D boxes, written out slowly: object by object, in float64.

Facts: sampling and decoding of xingyizhou/CenterNet's ddd task. Positions are cells unless said
otherwise; the camera frame is KITTI's.
"""
import math
from types import SimpleNamespace

import numpy as np
from pose_reference import STRIDE, draw, moved, peaks_slowly, radius_slowly
from test_ops.camera_reference import (
    angle_slowly,
    bins_slowly,
    corners_slowly,
    project_slowly,
    unproject_slowly,
)

#: What an object of the other types is ignored for; None: not at all, -1: every class.
IGNORED_FOR = dict(Van=1, Truck=1, Person_sitting=0, DontCare=-1, Tram=None, Misc=None)
IGNORED = 0.9999


def sample_slowly(objects, shape, matrix, camera, region=False, augmented=False):
    """Targets of one image.

    Departures from the original, as documented in the coder: the centre of an object is learnt
    also where a later one is to be ignored; there is no limit of 50 objects.

    Args:
        objects (list[SimpleNamespace]): ``type`` (a class's number, or a name of
            ``IGNORED_FOR``), ``bbox`` (xyxy, px of the image), ``bbox_3d``, ``alpha``.
        shape (tuple[int, int, int]): C, H, W of the heat map.
        matrix (ndarray[2, 3]): px of the image -> cells.
        camera (ndarray[3, 4]): of the image.
        region (bool): boxes are ignored as a whole, not their centre.
        augmented (bool): depths and dimensions are not learnt.

    Returns:
        SimpleNamespace: ``heatmap`` [C, H, W]; ``entries``, for each object (label, cell, (w, h),
        offset, depth, dims, inside, sines and cosines, location offset, metric weight).
    """
    classes, height, width = shape
    heatmap, entries = np.zeros(shape), []
    for each in objects:
        ignored_for = IGNORED_FOR[each.type] if isinstance(each.type, str) else None
        if isinstance(each.type, str) and ignored_for is None:
            continue
        (x1, y1), (x2, y2) = moved(each.bbox[:2], matrix), moved(each.bbox[2:], matrix)
        x1, x2 = (min(max(v, 0), width - 1) for v in (x1, x2))
        y1, y2 = (min(max(v, 0), height - 1) for v in (y1, y2))
        w, h = x2 - x1, y2 - y1
        if not (w > 0 and h > 0):
            continue
        radius = radius_slowly(h, w)
        center = (x1 + x2) / 2, (y1 + y2) / 2
        cell = int(center[0]), int(center[1])
        if isinstance(each.type, str):
            for label in range(classes) if ignored_for == -1 else [ignored_for]:
                if region:
                    heatmap[label, int(y1):int(y2) + 1, int(x1):int(x2) + 1] = IGNORED
                else:
                    draw(heatmap[label], *cell, radius)
                    heatmap[label, cell[1], cell[0]] = IGNORED
            continue
        draw(heatmap[each.type], *cell, radius)
        x, y, z, *dims, _ = each.bbox_3d
        seen = moved(project_slowly((x, y - dims[0] / 2, z), camera), matrix)
        bins = bins_slowly(each.alpha)
        entries.append((
            each.type, cell, (w, h), (center[0] - cell[0], center[1] - cell[1]), z, dims,
            [inside for inside, _ in bins], [(math.sin(r), math.cos(r)) for _, r in bins],
            (seen[0] - cell[0], seen[1] - cell[1]), 0 if augmented else 1))
    for label, (x, y), *_ in entries:
        heatmap[label, y, x] = 1
    return SimpleNamespace(heatmap=heatmap, entries=entries)


def decode_slowly(output, camera, count):
    """Detections of one image.

    A departure: the original takes depth for ``w``, which is depth plus the camera's last entry.

    Args:
        output (dict[str, ndarray[channels, H, W]]): by our branch names, the heat map as
            probabilities; ``wh``, ``offset`` and ``location_offset`` are not needed.
        camera (ndarray[3, 4]): of the network's input image.
        count (int): detections.

    Returns:
        list[tuple]: (score, label, box xyxy px, box in space, alpha, depth), best first.
    """
    peaks = [(score, label, x, y) for label, plane in enumerate(output['heatmap'])
             for score, x, y in peaks_slowly(plane)]
    found = []
    for score, label, x, y in sorted(peaks, key=lambda peak: -peak[0])[:count]:
        at = {name: values[:, y, x] for name, values in output.items()}
        dx, dy = at.get('offset', (0.5, 0.5))
        center = STRIDE * (x + dx), STRIDE * (y + dy)
        seen = center
        if 'location_offset' in at:
            seen = STRIDE * (x + at['location_offset'][0]), STRIDE * (y + at['location_offset'][1])
        depth = 1 / (1 / (1 + math.exp(-at['depth'][0]))) - 1
        height, width, length = at['dims']
        px, py, pz = unproject_slowly(seen, depth, camera)
        alpha = angle_slowly(at['orientation'])
        turn = alpha + math.atan2(seen[0] - camera[0][2], camera[0][0])
        box = px, py + height / 2, pz, height, width, length, turn
        if 'wh' in at:
            w, h = STRIDE * at['wh']
            around = center[0] - w / 2, center[1] - h / 2, center[0] + w / 2, center[1] + h / 2
        else:
            corners = [project_slowly((cx, cy, max(cz, 0.1)), camera)
                       for cx, cy, cz in corners_slowly(box)]
            us, vs = zip(*corners)
            around = min(us), min(vs), max(us), max(vs)
        found.append((score, label, around, box, alpha, depth))
    return found
