"""Draw the figure data set (COCO keypoint format): synthetic people with seven keypoints.

Writes::

    data/figures/annotations/{train,val}.json
    data/figures/{train,val}/*.jpg
    data/figures/{README.md,made_by.json}

A picture shows up to three figures in varied poses, clothes and sizes before a varied
background, covered in part by each other, by themselves, by obstacles and by the picture's
edges. Left and right are those of the figure, not of the picture: most figures are seen from
the front (face, open jacket), a few from behind (hair, rucksack), so which hand is the left one
has to be recognized, and stays right when an image is flipped and the pairs are swapped.

The annotations follow COCO:

* ``keypoints`` are in pixels from the center of the first pixel; ``bbox`` is from the edge of
  the first pixel, around all that is seen of the figure; ``area`` is what is seen of it, px.
* Visibility is 2 where the part of a keypoint is visible at it, 1 where
  something covers it, 0 (with x = y = 0) where it is outside the picture.
* A figure of which less than ``--min-area`` or fewer than two keypoints are visible has no labeled
  keypoint (``num_keypoints`` 0), as in COCO. One that nothing is seen of is not annotated.
* Some pictures show a crowd in the distance: one annotation with ``iscrowd`` 1 and no keypoints.

Elbows and knees bend but are not among the keypoints.

Example: ``python tools/demo_data/figures.py``
"""
import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from drawing import chance, random_color, smooth_noise
from whole_folder import is_complete, run, whole_folder

from mmdet_centernet.errors import UserError

# A keypoint and the group of drawn parts that must be on top for it to be seen.
JOINT_GROUPS = dict(
    head='head', neck='body', hip='body', left_hand='left_arm', right_hand='right_arm',
    left_foot='left_leg', right_foot='right_leg')
JOINTS = tuple(JOINT_GROUPS)
SKELETON = (('head', 'neck'), ('neck', 'hip'), ('neck', 'left_hand'), ('neck', 'right_hand'),
            ('hip', 'left_foot'), ('hip', 'right_foot'))
GROUPS = ('head', 'body', 'left_arm', 'right_arm', 'left_leg', 'right_leg', 'other')
SPLITS = ('train', 'val')
# Bump when the same options would give other files.
FORMAT = 1
# Everything is drawn this many times larger and then averaged down: smooth edges, and areas
# and boxes to a fraction of a pixel.
FINE = 3
# Bits of a pixel's fraction in OpenCV's drawing functions.
SHIFT = 4
CIRCLE = np.array([(np.cos(angle), np.sin(angle)) for angle in np.arange(24) * np.pi / 12])
JPEG_OPTIONS = (cv2.IMWRITE_JPEG_QUALITY, 95)
# Below this, px, nobody would notice that there is a figure.
MIN_SEEN = 12

SKIN = ((141, 172, 226), (110, 150, 210), (90, 125, 190), (66, 95, 150), (48, 68, 105),
        (175, 200, 240))
HAIR = ((30, 30, 35), (35, 50, 80), (60, 100, 150), (90, 160, 210), (40, 60, 130),
        (150, 150, 155))


@dataclass
class Part:
    """A filled convex hull of discs.

    Attributes:
        group (str): one of ``GROUPS``.
        discs (ndarray[K, 3]): x, y, radius; px.
        color (tuple[int, int, int]): BGR.
        stripes (tuple | None): second color, period in px, angle in rad; None is plain.
    """
    group: str
    discs: np.ndarray
    color: tuple
    stripes: tuple = None


@dataclass
class Thing:
    """Group of parts that cover and are covered together.

    Attributes:
        kind (str): ``figure``, ``crowd`` or ``obstacle``.
        parts (list[Part]): drawn in this order.
        keypoints (ndarray[7, 2] | None): of a figure, px, also hidden ones and those
            outside the picture.
    """
    kind: str
    parts: list
    keypoints: np.ndarray = None


@dataclass
class Scene:
    """A picture before it is drawn.

    Attributes:
        background (ndarray[H, W, 3]): BGR uint8.
        things (list[Thing]): farthest first.
        light (ndarray[H, W, 3]): factor of each pixel, drawn over everything.
    """
    background: np.ndarray
    things: list
    light: np.ndarray


def pick(rng, options):
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def shade(color, factor):
    """A darker or lighter color."""
    return tuple(int(min(channel * factor, 255)) for channel in color)


def sample_pose(rng):
    """Angles of a pose, rad, by side: index 0 is the picture's left, 1 its right.

    Returns:
        dict: ``arms``, ``legs``: from hanging down, outwards is positive; ``elbows``, ``knees``:
        further outwards; ``lean`` of the trunk and ``tilt`` of the head, clockwise.
    """
    arms, elbows = rng.normal(14, 9, 2), rng.uniform(-15, 35, 2)
    legs, knees = rng.normal(6, 4, 2), rng.uniform(-8, 4, 2)
    lean = rng.normal(0, 6)
    mode = pick(rng, ('stand', 'stride', 'wave', 'reach', 'fold'))
    if mode == 'stride':
        legs, knees, elbows = rng.normal(20, 8, 2), rng.uniform(-30, 5, 2), rng.uniform(0, 60, 2)
    elif mode == 'wave':
        arms[rng.integers(2)] = rng.uniform(95, 170)
    elif mode == 'reach':
        arms, elbows = rng.uniform(30, 95, 2), rng.uniform(-30, 40, 2)
    elif mode == 'fold':
        arms, elbows = rng.uniform(0, 25, 2), rng.uniform(-75, -30, 2)
    angles = dict(arms=arms, elbows=elbows, legs=legs, knees=knees, lean=lean,
                  tilt=rng.normal(0, 8))
    return {name: np.radians(value) for name, value in angles.items()}


def make_figure(rng, height, hip):
    """A figure in random clothes and pose.

    Args:
        rng (Generator): of numpy.
        height (float): of the figure if it stood upright, px.
        hip (tuple[float, float]): x, y of its hip, px.

    Returns:
        Thing: with keypoints.
    """
    pose = sample_pose(rng)
    from_behind = chance(rng, 0.05)
    # The side of the picture, 0 left or 1 right, that each of the figure's own sides is on.
    sides = dict(left=0, right=1) if from_behind else dict(left=1, right=0)
    stout = rng.uniform(0.9, 1.4)
    skin, hair = pick(rng, SKIN), pick(rng, HAIR)
    shirt, trousers, shoes = (random_color(rng) for _ in range(3))
    stripes = None
    if chance(rng, 0.35):
        stripes = (random_color(rng), height * rng.uniform(0.05, 0.1),
                   pick(rng, (0, np.pi / 2, np.pi / 4)))
    short_sleeves, short_trousers = chance(rng, 0.4), chance(rng, 0.25)

    def down(angle):
        """Unit vector, ``angle`` from hanging down towards the picture's right."""
        return np.array((np.sin(angle), np.cos(angle)))

    def discs(*rows):
        """Rows of point and radius in figure heights, from the hip -> discs in px."""
        return np.array([(*(np.asarray(point) * height + hip), radius * height)
                         for point, radius in rows])

    # Leaning clockwise moves the head to the picture's right.
    lean = pose['lean']
    up, right = -down(-lean), down(np.pi / 2 - lean)
    shoulder, pelvis = rng.uniform(0.085, 0.11) * stout, rng.uniform(0.045, 0.06) * stout
    neck = up * rng.uniform(0.27, 0.31)
    head_radius = rng.uniform(0.075, 0.095)
    head_up = -down(-lean - pose['tilt'])
    head_right = np.array((-head_up[1], head_up[0]))
    head = neck + head_up * (head_radius + rng.uniform(0.025, 0.045))

    points = dict(head=head, neck=neck, hip=np.zeros(2))
    arms, legs = {}, {}
    for name, side in sides.items():
        outwards = 2 * side - 1
        for limbs, group, root, angle, bend, length, radii, end in (
                (arms, f'{name}_arm', neck - up * 0.03 + outwards * shoulder * right,
                 pose['arms'][side], pose['elbows'][side], 0.165, (0.036, 0.03, 0.026), 'hand'),
                (legs, f'{name}_leg', outwards * pelvis * right,
                 pose['legs'][side], pose['knees'][side], 0.225, (0.053, 0.042, 0.034), 'foot')):
            # Seen foreshortened by up to a quarter.
            lengths = length * rng.uniform(0.75, 1.05, 2)
            middle = root + lengths[0] * down(outwards * angle - lean)
            tip = middle + lengths[1] * down(outwards * (angle + bend) - lean)
            radii = np.array(radii) * (0.4 + 0.6 * stout)
            points[f'{name}_{end}'] = tip
            is_arm = end == 'hand'
            short = short_sleeves if is_arm else short_trousers
            cloth = shade(shirt if is_arm else trousers, rng.uniform(0.75, 0.92))
            limbs[name] = [
                Part(group, discs((middle, radii[1]), (tip, radii[2])),
                     shade(skin, 0.93) if short else cloth),
                Part(group, discs((root, radii[0]), (middle, radii[1])), cloth)]
            if is_arm:
                limbs[name].append(Part(group, discs((tip, 0.034)), skin))
            else:
                toe = tip + 0.03 * down(outwards * rng.uniform(0.3, 1.2) - lean)
                limbs[name].append(Part(group, discs((tip, 0.038), (toe, 0.03)), shoes))

    waist = up * 0.05
    trunk = [
        Part('body', discs((pelvis * right, 0.058 * stout), (-pelvis * right, 0.058 * stout)),
             trousers),
        Part('body', discs((neck, 0.035), (head - head_up * head_radius * 0.5, 0.035)),
             shade(skin, 0.85)),
        Part('body', discs((neck - up * 0.035 + shoulder * right, 0.042),
                           (neck - up * 0.035 - shoulder * right, 0.042), (neck, 0.028),
                           (waist + right * pelvis, 0.052 * stout),
                           (waist - right * pelvis, 0.052 * stout)), shirt, stripes)]
    if not from_behind:
        trunk.append(Part('body', discs((neck - up * 0.01, 0.03), (up * 0.03, 0.008)),
                          random_color(rng, (0, 60), (190, 256))))
    elif chance(rng, 0.7):
        low, high = up * 0.09, neck - up * 0.05
        corners = [(end + side * 0.7 * shoulder * right, 0.025)
                   for end in (low, high) for side in (-1, 1)]
        trunk.append(Part('body', discs(*corners), random_color(rng)))

    crown = head + head_up * head_radius * 0.1
    skull = [Part('head', discs((crown, head_radius * 1.08)), hair)]
    if not from_behind:
        face = head - head_up * head_radius * 0.22
        skull.append(Part('head', discs((face, head_radius * 0.85)), skin))
        for outwards in (-1, 1):
            eye = face + (outwards * 0.36 * head_right + 0.1 * head_up) * head_radius
            skull.append(Part('head', discs((eye, head_radius * 0.15)), (25, 25, 25)))
        mouth = face - head_up * head_radius * 0.42
        skull.append(Part('head', discs(*((mouth + side * 0.22 * head_radius * head_right,
                                           head_radius * 0.09) for side in (-1, 1))),
                          (60, 60, 150)))

    behind = [name for name in sides if chance(rng, 0.25)]
    first = pick(rng, ('left', 'right'))
    order = (first, 'right' if first == 'left' else 'left')
    parts = [part for name in behind for part in arms[name]]
    parts += [part for name in order for part in legs[name]]
    parts += trunk + skull
    parts += [part for name in order if name not in behind for part in arms[name]]
    keypoints = np.array([points[name] for name in JOINTS]) * height + hip
    return Thing('figure', parts, keypoints)


def make_crowd(rng, width, height):
    """Small figures that nobody would annotate one by one."""
    size = height * rng.uniform(0.12, 0.17)
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.3, 0.7) * height
    parts = []
    for place in np.sort(rng.uniform(-1.6, 1.6, int(rng.integers(6, 11)))):
        parts += make_figure(rng, size, (x + place * size, y + rng.normal(0, 0.06) * size)).parts
    return Thing('crowd', parts)


def make_obstacle(rng, width, height):
    """A post, a crate or a bush, standing somewhere."""
    x, y = rng.uniform(0, width), rng.uniform(0.55, 1) * height
    color = random_color(rng, (30, 150), (50, 200))
    kind = pick(rng, ('post', 'crate', 'bush'))
    if kind == 'post':
        radius = rng.uniform(0.012, 0.035) * height
        slant = rng.normal(0, 0.05) * height
        parts = [Part('other', np.array([(x, y, radius), (x + slant, -0.1 * height, radius)]),
                      color)]
    elif kind == 'crate':
        half, tall = rng.uniform(0.06, 0.16) * height, rng.uniform(0.1, 0.3) * height
        board = 0.12 * half
        parts = [Part('other', np.array([(x + sx * half, y - sy * tall, 2)
                                         for sx in (-1, 1) for sy in (0, 1)]), color,
                      (shade(color, 0.75), 0.04 * height, pick(rng, (0, np.pi / 2))))]
        parts += [Part('other', np.array([(x - half, y - end, board), (x + half, y - end, board)]),
                       shade(color, 1.15)) for end in (0, tall)]
    else:
        size = rng.uniform(0.05, 0.1) * height
        green = random_color(rng, (90, 200), (60, 150))
        color = (green[0] // 3, max(green), green[2] // 2)
        parts = [Part('other', np.array([(x + rng.normal(0, size), y - rng.uniform(0, 2) * size,
                                          rng.uniform(0.4, 0.9) * size)]),
                      shade(color, rng.uniform(0.7, 1.2))) for _ in range(12)]
    return Thing('obstacle', parts)


def make_background(rng, height, width):
    """Ground and sky or floor and wall with things on them: ndarray[H, W, 3] BGR uint8."""
    horizon = int(rng.uniform(0.25, 0.7) * height)
    picture = np.empty((height, width, 3), np.float32)
    for rows in (slice(0, horizon), slice(horizon, height)):
        ends = np.array([random_color(rng, (10, 100), (80, 240))] * 2, np.float32)
        ends[1] *= rng.uniform(0.6, 1.3)
        fade = np.linspace(0, 1, rows.stop - rows.start)[:, None, None]
        picture[rows] = ends[0] * (1 - fade) + ends[1] * fade
    for _ in range(int(rng.integers(3))):
        # Hills, each before the last.
        xs = np.arange(width)
        tops = horizon - height * abs(rng.normal(0, 0.12)) * (
            1 + np.sin(xs * rng.uniform(0.01, 0.05) + rng.uniform(0, 6)))
        outline = np.stack((xs, tops), 1).round().astype(np.int32)
        outline = np.vstack((outline, [(width, horizon), (0, horizon)])).astype(np.int32)
        cv2.fillPoly(picture, [outline], random_color(rng, (20, 130), (70, 200)), cv2.LINE_AA)
    for _ in range(int(rng.integers(5))):
        # Houses or furniture, windows or drawers.
        x, half = int(rng.uniform(0, width)), int(rng.uniform(0.04, 0.15) * height)
        top, bottom = (int(horizon + rng.uniform(*span) * height)
                       for span in ((-0.35, -0.05), (0, 0.15)))
        color = random_color(rng, (10, 140), (60, 220))
        cv2.rectangle(picture, (x - half, top), (x + half, bottom), color, -1)
        step = max(half // 2, 4)
        for row in range(top + step // 2, bottom - step, step + step // 2):
            for column in range(x - half + step // 2, x + half - step // 2, step + step // 2):
                cv2.rectangle(picture, (column, row), (column + step // 2, row + step // 2),
                              shade(color, 0.7), -1)
    for _ in range(int(rng.integers(6))):
        # Trees or lamps: a stem and a ball.
        x, foot = rng.uniform(0, width), horizon + rng.uniform(0, 0.2) * height
        tall, ball = rng.uniform(0.1, 0.4) * height, rng.uniform(0.02, 0.09) * height
        tip = (int(x), int(foot - tall))
        cv2.line(picture, (int(x), int(foot)), tip, random_color(rng, (20, 150), (40, 140)),
                 max(1, int(ball / 4)), cv2.LINE_AA)
        cv2.circle(picture, tip, int(ball), random_color(rng, (40, 200), (60, 220)), -1,
                   cv2.LINE_AA)
    for cell in (40, 12, 4, 1.5):
        noise = smooth_noise(rng, height, width, cell)
        picture *= 1 + rng.uniform(0, 0.05) * noise[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def make_scene(rng, width, height):
    """Compose a picture.

    Args:
        rng (Generator): of numpy.
        width, height (int): px.

    Returns:
        Scene: of any number of figures from 0 to 3.
    """
    count = int(rng.choice(4, p=(0.02, 0.6, 0.31, 0.07)))
    figures = []
    place = None
    for _ in range(count):
        tall = rng.uniform(0.6, 0.95)
        tall *= height
        if place is not None and chance(rng, 0.4):
            # Beside the last one, near enough to overlap.
            x = place[0] + pick(rng, (-1, 1)) * rng.uniform(0.15, 0.4) * place[1]
        else:
            x = rng.uniform(0.1, 0.9) * width
        # Near figures are large and stand low in the picture.
        y = height * (0.48 + rng.normal(0, 0.06)) + rng.uniform(-0.05, 0.12) * tall
        place = (x, tall)
        figures.append((tall * rng.uniform(0.85, 1.15), make_figure(rng, tall, (x, y))))
    things = [figure for _, figure in sorted(figures, key=lambda item: item[0])]
    for _ in range(int(rng.choice(3, p=(0.7, 0.25, 0.05)))):
        things.insert(int(rng.integers(len(things) + 1)), make_obstacle(rng, width, height))
    if chance(rng, 0.08):
        things.insert(0, make_crowd(rng, width, height))
    light = 1 + 0.04 * smooth_noise(rng, height, width, 60)[..., None]
    light = light * rng.uniform(0.8, 1.15) + rng.normal(0, 0.02, (height, width, 3))
    return Scene(make_background(rng, height, width), things, light.astype(np.float32))


def outline(part, shrink=0.0, shift=(0, 0)):
    """The convex polygon of a part in pixels of the fine canvas.

    Args:
        part (Part): what to outline.
        shrink (float): fraction of each radius to leave out.
        shift (tuple[float, float]): in radii.

    Returns:
        ndarray[P, 2]: float.
    """
    centers, radii = part.discs[:, None, :2], part.discs[:, None, 2:]
    points = centers + radii * ((1 - shrink) * CIRCLE + shift)
    return cv2.convexHull(to_fine(points).reshape(-1, 2).astype(np.float32))[:, 0]


def to_fine(points):
    """Pixels of the picture -> pixels of the fine canvas, both from the first one's center."""
    return (points + 0.5) * FINE - 0.5


def fill(canvas, polygon, value):
    """Fill a convex polygon."""
    fixed = (polygon * (1 << SHIFT)).round().astype(np.int32)
    cv2.fillConvexPoly(canvas, fixed, value, cv2.LINE_8, SHIFT)


def paint(canvas, part):
    """Paint a part: its edge on one side is in the shade."""
    fill(canvas, outline(part), shade(part.color, 0.72))
    inner = outline(part, 0.2, (-0.1, -0.12))
    if part.stripes is None:
        fill(canvas, inner, part.color)
        return
    color, period, angle = part.stripes
    (x1, y1), (x2, y2) = inner.min(0), inner.max(0)
    x1, y1 = max(int(x1), 0), max(int(y1), 0)
    piece = canvas[y1:max(int(y2) + 2, 0), x1:max(int(x2) + 2, 0)]
    if not piece.size:
        return
    mask = np.zeros(piece.shape[:2], np.uint8)
    fill(mask, inner - (x1, y1), 1)
    ys, xs = np.ogrid[:piece.shape[0], :piece.shape[1]]
    phase = ((xs + x1) * np.sin(angle) + (ys + y1) * np.cos(angle)) / (period * FINE)
    pattern = np.where((phase % 1 < 0.5)[..., None], np.uint8(part.color), np.uint8(color))
    np.copyto(piece, pattern, where=mask[..., None] > 0)


def owner_code(thing, group):
    """Return the value of a group of parts in the owners' canvas; 0 is background."""
    return 1 + thing * len(GROUPS) + GROUPS.index(group)


def render(scene):
    """Draw a scene.

    Returns:
        tuple[ndarray[H, W, 3], ndarray[FINE * H, FINE * W]]: BGR uint8; and what is on top
        at each pixel of the fine canvas, int16, see :func:`owner_code`.
    """
    height, width = scene.background.shape[:2]
    size = (FINE * width, FINE * height)
    canvas = cv2.resize(scene.background, size, interpolation=cv2.INTER_NEAREST)
    owners = np.zeros(size[::-1], np.int16)
    for index, thing in enumerate(scene.things):
        for part in thing.parts:
            paint(canvas, part)
            fill(owners, outline(part), owner_code(index, part.group))
    image = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(image * scene.light, 0, 255).round().astype(np.uint8), owners


def annotate(scene, owners, min_area):
    """The annotations of a drawn scene, see the top of this file.

    Args:
        scene (Scene): what was drawn.
        owners (ndarray): of :func:`render`.
        min_area (float): least area with labeled keypoints, px.

    Returns:
        list[dict]: without ``id`` and ``image_id``, farthest first.
    """
    height, width = scene.background.shape[:2]
    seen_things = (owners - 1) // len(GROUPS)
    annotations = []
    for index, thing in enumerate(scene.things):
        if thing.kind == 'obstacle':
            continue
        seen = seen_things == index
        area = np.count_nonzero(seen) / FINE ** 2
        if area < MIN_SEEN:
            continue
        columns, rows = (np.flatnonzero(seen.any(axis)) for axis in (0, 1))
        x, y = columns[0] / FINE, rows[0] / FINE
        keypoints = np.zeros((len(JOINTS), 3))
        if thing.kind == 'figure':
            inside = ((thing.keypoints >= 0) & (thing.keypoints <= (width - 1, height - 1))).all(1)
            fine = to_fine(thing.keypoints[inside]).round().astype(int)
            codes = np.array([owner_code(index, group) for group in JOINT_GROUPS.values()])
            on_top = owners[fine[:, 1], fine[:, 0]] == codes[inside]
            if area >= min_area and np.count_nonzero(on_top) >= 2:
                keypoints[inside] = np.column_stack(
                    (thing.keypoints[inside].round(2), np.where(on_top, 2, 1)))
        annotations.append(dict(
            category_id=1, iscrowd=int(thing.kind == 'crowd'),
            bbox=[x, y, (columns[-1] + 1) / FINE - x, (rows[-1] + 1) / FINE - y], area=area,
            num_keypoints=int(np.count_nonzero(keypoints[:, 2])),
            keypoints=[int(value) if value == int(value) else value
                       for value in keypoints.reshape(-1).tolist()]))
    return annotations


def draw_split(split, folder, count, options):
    """Draw the pictures and the annotation file of one split below ``folder``.

    Returns:
        dict: how many of each kind there are.
    """
    images, annotations = [], []
    (folder / split).mkdir(parents=True)
    for index in range(count):
        # Each picture has its own random numbers: how many there are changes none of them.
        rng = np.random.default_rng((options['seed'], SPLITS.index(split), index))
        scene = make_scene(rng, *options['size'])
        image, owners = render(scene)
        file_name = f'{index:05d}.jpg'
        encoded, data = cv2.imencode('.jpg', image, JPEG_OPTIONS)
        assert encoded
        (folder / split / file_name).write_bytes(data.tobytes())
        images.append(dict(
            id=index + 1, file_name=file_name, width=image.shape[1], height=image.shape[0]))
        for annotation in annotate(scene, owners, options['min_area']):
            annotations.append(dict(
                id=len(annotations) + 1, image_id=index + 1, **annotation))
        if (index + 1) % 400 == 0 or index + 1 == count:
            print(f'  {split}: {index + 1} of {count} pictures', flush=True)
    (folder / 'annotations').mkdir(exist_ok=True)
    content = dict(
        info=dict(description=f'Synthetic figures, {split}', version=str(FORMAT),
                  options=options),
        categories=[dict(
            id=1, name='figure', supercategory='figure', keypoints=list(JOINTS),
            skeleton=[[JOINTS.index(name) + 1 for name in link] for link in SKELETON])],
        images=images, annotations=annotations)
    (folder / 'annotations' / f'{split}.json').write_text(json.dumps(content))
    flags = np.array([item['keypoints'][2::3] for item in annotations]).reshape(-1)
    crowds = sum(item['iscrowd'] for item in annotations)
    labeled = sum(item['num_keypoints'] > 0 for item in annotations)
    return dict(
        pictures=count, figures=labeled,
        unlabeled=len(annotations) - labeled - crowds, crowds=crowds,
        seen=int((flags == 2).sum()), covered=int((flags == 1).sum()),
        outside=labeled * len(JOINTS) - int((flags > 0).sum()))


def write_readme(folder, counts, options):
    """Describe the data."""
    lines = [
        '# Figures', '',
        'Synthetic people with seven keypoints in COCO keypoint format, drawn by '
        f'`tools/demo_data/figures.py` (which says what is annotated how) with '
        f'{json.dumps(options)}.', '',
        '| split | pictures | figures with keypoints | without | crowds | visible | covered '
        '| outside |',
        '|---|---|---|---|---|---|---|---|']
    for split, numbers in counts.items():
        lines.append(f'| {split} | ' + ' | '.join(map(str, numbers.values())) + ' |')
    (folder / 'README.md').write_text('\n'.join(lines) + '\n')


def make_dataset(out, train=1600, val=200, size=(320, 240), min_area=500, seed=0):
    """Draw the whole data set at ``out``, or leave everything as it was.

    Args:
        out (str | Path): folder of the data set.
        train, val (int): numbers of pictures.
        size (tuple[int, int]): width and height of a picture, px.
        min_area (float): figures of which less is seen have no labeled keypoints, px.
        seed (int): the same options draw the same data.

    Returns:
        bool: False if it was there already.

    Raises:
        UserError: if an option is out of range or ``out`` holds other files.
    """
    for name, value in dict(train=train, val=val).items():
        if value < 1:
            raise UserError(f'--{name} {value} must be at least 1')
    if min(size) < 32 or max(size) > 4096:
        raise UserError(f'--size {size[0]} {size[1]} must be from 32 to 4096 px')
    if min_area < 0:
        raise UserError(f'--min-area {min_area} must be at least 0')
    if seed < 0:
        raise UserError(f'--seed {seed} must be at least 0')
    out = Path(out)
    options = dict(train=train, val=val, size=list(size), min_area=min_area, seed=seed)
    stamp = dict(tool='figures.py', format=FORMAT, options=options)
    if is_complete(out, stamp, SPLITS):
        print(f'{out} is there already, made with the same options: nothing to do')
        return False
    with whole_folder(out, stamp) as (new, _):
        print(f'drawing {train} + {val} pictures of {size[0]} x {size[1]} px', flush=True)
        counts = {split: draw_split(split, new, options[split], options) for split in SPLITS}
        write_readme(new, counts, options)
    for split, numbers in counts.items():
        print(f'{split}: ' + ', '.join(f'{value} {name}' for name, value in numbers.items()))
    print(f'wrote {out}')
    return True


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description='Draw data/figures: synthetic people in COCO keypoint format.')
    parser.add_argument('--out', default='data/figures', help='default: %(default)s')
    parser.add_argument(
        '--train', type=int, default=1600, help='number of training pictures (%(default)s)')
    parser.add_argument(
        '--val', type=int, default=200, help='number of validation pictures (%(default)s)')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(320, 240), metavar=('WIDTH', 'HEIGHT'),
        help='of a picture, px (320 240)')
    parser.add_argument(
        '--min-area', type=float, default=500,
        help='figures of which less is seen have no labeled keypoints, px (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    return parser.parse_args(argv)


def main(argv=None):
    return run(make_dataset, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
