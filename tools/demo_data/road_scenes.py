"""Draw the road scenes (KITTI's object format): 3D boxes seen by a known camera.

Writes what KITTI's object benchmark has, so that what reads KITTI reads this::

    data/road_scenes/training/{image_2,label_2,calib}/000000.{png,txt}
    data/road_scenes/ImageSets/{train,val}.txt
    data/road_scenes/{README.md,made_by.json}

A picture shows a flat road with cars, pedestrians and cyclists 5 to 30 m away, now and then a
van, a truck, a tram or a trailer, and clutter that is nothing (poles, trees, bins, houses).
Things are built of flat faces, seen in perspective with hidden surfaces removed, lit by the sun
from one side, and stand in their shadows. Fronts differ from backs (lamps, windows, faces). Every
picture has a camera of its own, and some a size of their own.

The labels follow KITTI (readme.txt of its object development kit):

* ``bbox`` surrounds the projected 3D box, cut to the picture (0 to W - 1, 0 to H - 1).
* ``truncated`` is the fraction of the area of the uncut ``bbox`` that lies outside the picture.
* ``occluded`` depends on the fraction of an object's pixels in the picture that are visible, see
  ``OCCLUSION_LEVELS``. What is covered more than that, or farther away than 30 m, becomes a
  ``DontCare`` region; what is hardly visible is not labeled.
* Numbers have two decimals; what is drawn is the rounded 3D box. The camera has no pitch, so
  that boxes turn about y only, and their y is the camera's height above the ground.

Example: ``python tools/demo_data/road_scenes.py``
"""
import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from drawing import chance, random_color, smooth_noise
from whole_folder import has_stamp, run, whole_folder

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.kitti import CLASSLESS, KittiObjects, write_objects
from mmdet_centernet.ops.camera import box_corners, project, wrap_angle

# Mean (h, w, l) in meters.
MEAN_DIMS = dict(
    Car=(1.5, 1.65, 4.0), Pedestrian=(1.75, 0.65, 0.8), Cyclist=(1.75, 0.6, 1.8),
    Van=(2.1, 1.9, 5.0), Truck=(3.1, 2.5, 8.0), Tram=(3.4, 2.5, 13.0), Misc=(1.6, 1.7, 3.0))
# How often a thing is one of these.
SHARES = dict(Car=0.5, Pedestrian=0.22, Cyclist=0.22, Van=0.03, Truck=0.015, Tram=0.005,
              Misc=0.01)
CLASSES = ('Pedestrian', 'Car', 'Cyclist')
CLUTTER = 'clutter'
# How many things a picture has, from one on.
COUNTS = (0.15, 0.25, 0.26, 0.17, 0.1, 0.07)
SPLITS = ('train', 'val')
# Folders of what a picture has, and the endings of their files.
PARTS = dict(image_2='png', label_2='txt', calib='txt')
DEPTHS = (5.5, 30.0)
FAR_DEPTHS = (31.0, 50.0)
# Least visible fraction of an object that is occluded 0, 1, 2; below the last it is a region, and
# nothing at all where nobody would know that it is there.
OCCLUSION_LEVELS = (0.85, 0.5, 0.2)
UNNOTICED = 0.05
MAX_TRUNCATED = 0.55
# Nothing reaches nearer to the camera, m: no face has to be cut.
NEAR = 2.5
# Between the rectangles of any two things on the ground, m.
GAP = 0.3
# Bump when the same options would give other files.
FORMAT = 1
# Things are drawn this many times larger and then averaged down: smooth edges, and shares of
# pixels.
FINE = 2
# Bits of a pixel's fraction in OpenCV's drawing functions.
SHIFT = 4
# Of the focal length: a car 30 m away is then about as high as KITTI's moderate level asks for.
FOCAL = 0.76
# Where KITTI's cameras 0 to 3 see the frame's origin, m.
OFFSETS = ((0, 0, 0), (-0.537, 0, 0), (0.06, -0.0004, 0.0027), (-0.473, 0.0023, 0.0027))

GLASS, RUBBER, CHROME = (70, 58, 48), (32, 30, 30), (165, 165, 165)
SKIN = ((141, 172, 226), (110, 150, 210), (90, 125, 190), (66, 95, 150), (175, 200, 240))
HAIR = ((30, 30, 35), (35, 50, 80), (60, 100, 150), (90, 160, 210))


@dataclass
class Camera:
    """A camera, level above flat ground.

    Attributes:
        matrices (ndarray[4, 3, 4]): projections of KITTI's cameras 0 to 3, px; that of number 2
            is the picture's.
        size (tuple[int, int]): width and height of the picture, px.
        height (float): y of the ground, m.
    """
    matrices: np.ndarray
    size: tuple
    height: float

    @property
    def cam2img(self):
        """ndarray[3, 4]: the picture's projection."""
        return self.matrices[2]

    def pixels(self, points):
        """Points [..., N, 3] of the camera frame -> [..., N, 2] px."""
        return project(torch.as_tensor(points), torch.as_tensor(self.cam2img)).numpy()


@dataclass
class Face:
    """A flat convex polygon.

    Attributes:
        points (ndarray[K, 3]): camera frame, m; clockwise as seen from outside.
        color (tuple[int, int, int]): BGR, before the light.
        shines (bool): has its color in any light.
        two_sided (bool): is seen from both sides.
    """
    points: np.ndarray
    color: tuple
    shines: bool = False
    two_sided: bool = False


@dataclass
class Thing:
    """Object that stands on the ground.

    Attributes:
        kind (str): KITTI's type, or ``CLUTTER``.
        box (ndarray[7]): x, y, z of the bottom's center, h, w, l, rotation_y.
        faces (list[Face]): within the box.
    """
    kind: str
    box: np.ndarray
    faces: list


@dataclass
class Scene:
    """A picture before the things are drawn.

    Attributes:
        camera (Camera): that sees it.
        background (ndarray[H, W, 3]): BGR uint8, with the ground.
        things (list[Thing]): in any order.
        sun (ndarray[3]): unit vector towards the sun.
        light (ndarray[H, W, 1]): factor of each pixel, over everything.
    """
    camera: Camera
    background: np.ndarray
    things: list
    sun: np.ndarray
    light: np.ndarray


@dataclass
class Road:
    """A straight road.

    Attributes:
        yaw (float): its direction from the camera's, to the right, rad.
        lanes (ndarray[L]): places of the lanes' middles across the road, m, 0 at the camera.
        half (float): half a lane's width, m.
        oncoming (ndarray[L]): bool, which lanes come towards the camera.
    """
    yaw: float
    lanes: np.ndarray
    half: float
    oncoming: np.ndarray

    def across(self, x, z):
        """Place across the road of points on the ground, m to the right of the camera's."""
        return x * math.cos(self.yaw) - z * math.sin(self.yaw)

    def x_at(self, across, z):
        """The x of a place across the road at a depth."""
        return (across + z * math.sin(self.yaw)) / math.cos(self.yaw)

    @property
    def edges(self):
        """tuple[float, float]: the road's sides, across."""
        return self.lanes[0] - self.half, self.lanes[-1] + self.half


def pick(rng, options, shares=None):
    """One of the options, all as likely or by their shares."""
    options = list(options)
    return options[int(rng.choice(len(options), p=shares))]


def shade(color, factor):
    """A darker or lighter color."""
    return tuple(min(channel * factor, 255) for channel in color)


class Model:
    """Faces in an object's own frame: meters forward, up, and to its left, from the bottom.

    Args:
        box (ndarray[7]): where it stands, see :class:`Thing`.
    """

    def __init__(self, box):
        self.box = box
        self.faces = []

    def add(self, points, color, **kwargs):
        """Add a :class:`Face` with the points [K, 3] (forward, up, left)."""
        forward, up, left = np.asarray(points, float).T
        cos, sin = np.cos(self.box[6]), np.sin(self.box[6])
        turned = np.stack((cos * forward + sin * left, -up, cos * left - sin * forward), 1)
        self.faces.append(Face(turned + self.box[:3], color, **kwargs))

    def block(self, low, bottom, high, top, color):
        """Add a solid with a rectangular bottom and top, all but its underside.

        Args:
            low, high (float): heights of both.
            bottom, top (tuple[float, float, float, float]): each from back to front and from
                right to left.
            color (tuple): of all faces.

        Returns:
            dict[str, ndarray[4, 3]]: ``back``, ``left``, ``front``, ``right``.
        """
        rings = [[(x1, up, z1), (x1, up, z2), (x2, up, z2), (x2, up, z1)]
                 for (x1, x2, z1, z2), up in ((bottom, low), (top, high))]
        sides = {}
        for index, name in enumerate(('back', 'left', 'front', 'right')):
            near, far = index, (index + 1) % len(rings[0])
            sides[name] = np.array((rings[0][near], rings[0][far], rings[1][far], rings[1][near]))
            self.add(sides[name], color)
        self.add(rings[1], color)
        return sides

    def box_block(self, low, high, x1, x2, z1, z2, color):
        """Add an upright solid."""
        return self.block(low, (x1, x2, z1, z2), high, (x1, x2, z1, z2), color)

    def panel(self, sides, name, across, upwards, color, shines=False):
        """Add a quadrangle on a side of a block.

        Args:
            sides (dict): of :meth:`block`.
            name (str): of the side.
            across, upwards (tuple[float, float]): from where to where, in shares of its breadth
                (of left and right from the back, of front and back from the right) and height.
            color (tuple): BGR.
            shines (bool): see :class:`Face`.
        """
        a, b, c, d = sides[name]
        normal = np.cross(b - a, d - a)
        # A centimetre outside, so that it hides what it lies on.
        lift = 0.01 * normal / np.linalg.norm(normal)
        (u1, u2), (v1, v2) = across, upwards
        if name in ('front', 'right'):
            u1, u2 = 1 - u2, 1 - u1
        self.add([(a + (b - a) * u) * (1 - v) + (d + (c - d) * u) * v + lift
                  for u, v in ((u1, v1), (u2, v1), (u2, v2), (u1, v2))], color, shines=shines)

    def disc(self, forward, up, left, radius, color):
        """Add an upright disc that is seen from the side."""
        angles = np.arange(14) * np.pi / 7
        self.add(np.stack((forward + radius * np.cos(angles), up + radius * np.sin(angles),
                           np.full(14, left)), 1), color, two_sided=True)

    def wheels(self, places, radius, half, breadth):
        """Add pairs of wheels at places along the object, whose outer sides are at ``half``."""
        for x in places:
            for sign in (-1, 1):
                inner, outer = sorted((sign * half, sign * (half - breadth)))
                self.box_block(0, 1.8 * radius, x - 0.7 * radius, x + 0.7 * radius, inner, outer,
                               RUBBER)
                self.disc(x, radius, sign * (half + 0.004), radius, RUBBER)
                self.disc(x, radius, sign * (half + 0.01), 0.55 * radius, CHROME)

    def lamps(self, sides, upwards, across=0.2):
        """Add white lamps to the front and red ones to the back."""
        for span in ((0.03, 0.03 + across), (0.97 - across, 0.97)):
            self.panel(sides, 'front', span, upwards, (225, 250, 255), True)
            self.panel(sides, 'back', span, upwards, (25, 20, 215), True)


def paint_car(rng, model):
    """A car, lower before and behind its cabin, or a hatchback."""
    h, w, length = model.box[3:6]
    color = (random_color(rng, (120, 235), (70, 230)) if chance(rng, 0.6)
             else random_color(rng, (0, 25), (35, 250)))
    half, waist = w / 2 - 0.02, rng.uniform(0.55, 0.6) * h
    model.wheels((-0.3 * length, 0.31 * length), 0.21 * h, half, 0.2)
    model.box_block(0.12 * h, 0.3 * h, -0.45 * length, 0.45 * length, -0.42 * w, 0.42 * w,
                    (28, 26, 26))
    body = model.block(0.17 * h, (-length / 2, length / 2, -half, half), waist,
                       (-0.48 * length, 0.46 * length, -half, half), color)
    back = rng.choice((-0.36, -0.47))
    cabin = model.block(waist, (back * length, 0.26 * length, -0.47 * w, 0.47 * w), h,
                        ((back + 0.08) * length, 0.08 * length, -0.39 * w, 0.39 * w), color)
    model.panel(cabin, 'front', (0.06, 0.94), (0.1, 0.92), GLASS)
    model.panel(cabin, 'back', (0.1, 0.9), (0.25, 0.88), shade(GLASS, 0.8))
    for side in ('left', 'right'):
        model.panel(cabin, side, (0.08, 0.47), (0.12, 0.88), shade(GLASS, 0.9))
        model.panel(cabin, side, (0.53, 0.93), (0.12, 0.88), shade(GLASS, 0.9))
        model.panel(body, side, (0.49, 0.5), (0.15, 0.97), shade(color, 0.6))
        model.panel(body, side, (0.02, 0.98), (0.08, 0.16), shade(color, 0.55))
    model.lamps(body, (0.55, 0.85))
    model.panel(body, 'front', (0.28, 0.72), (0.5, 0.85), (40, 38, 38))
    model.panel(body, 'front', (0.02, 0.98), (0.05, 0.3), shade(color, 0.6))
    model.panel(body, 'back', (0.02, 0.98), (0.05, 0.25), shade(color, 0.6))
    for end, up in (('front', 0.28), ('back', 0.5)):
        model.panel(body, end, (0.36, 0.64), (up, up + 0.18), (215, 235, 235))


def paint_person(rng, model, hips, lean, arms, stride, breadth):
    """A person: legs, trunk, arms and head, whose face looks forward.

    Args:
        rng (Generator): of numpy.
        model (Model): to add to.
        hips (tuple[float, float]): forward and up, m.
        lean (float): how far the shoulders are before the hips, m.
        arms (list[tuple[float, float]]): forward and up of the hands, right and left, m.
        stride (list[tuple[float, float]]): of the feet.
        breadth (float): across the hands, m.
    """
    top = model.box[3]
    skin, hair = pick(rng, SKIN), pick(rng, HAIR)
    shirt, trousers, shoes = (random_color(rng) for _ in range(3))
    x, up = hips
    head, shoulders = 0.25, top - 0.3
    across = 0.34 * breadth
    for sign, (foot, floor) in zip((-1, 1), stride, strict=True):
        leg = sign * across / 2
        model.block(floor + 0.07, (foot - 0.08, foot + 0.06, leg - 0.07, leg + 0.07), up,
                    (x - 0.1, x + 0.1, leg - 0.09, leg + 0.09), trousers)
        model.box_block(floor, floor + 0.09, foot - 0.1, foot + 0.16, leg - 0.06, leg + 0.06,
                        shoes)
    trunk = model.block(up - 0.05, (x - 0.12, x + 0.12, -across, across), shoulders,
                        (x + lean - 0.12, x + lean + 0.12, -1.05 * across, 1.05 * across), shirt)
    if chance(rng, 0.5):
        model.panel(trunk, 'front', (0.4, 0.6), (0.1, 1), random_color(rng, (0, 60), (170, 250)))
    if chance(rng, 0.4):
        model.panel(trunk, 'back', (0.15, 0.85), (0.35, 0.95), random_color(rng))
    for sign, (reach, hand) in zip((-1, 1), arms, strict=True):
        inner, outer = sorted((1.05 * sign * across, sign * breadth / 2))
        low, far = sorted((sign * (breadth / 2 - 0.1), sign * breadth / 2))
        model.block(hand, (reach - 0.06, reach + 0.06, low, far), shoulders,
                    (x + lean - 0.08, x + lean + 0.08, inner, outer), shade(shirt, 0.85))
        model.box_block(hand - 0.1, hand + 0.02, reach - 0.06, reach + 0.06, low, far, skin)
    neck = x + lean + 0.02
    model.box_block(shoulders, top - head + 0.02, neck - 0.06, neck + 0.06, -0.06, 0.06, skin)
    skull = model.block(top - head, (neck - 0.09, neck + 0.1, -0.08, 0.08), top,
                        (neck - 0.1, neck + 0.08, -0.07, 0.07), hair)
    model.panel(skull, 'front', (0.03, 0.97), (0, 0.75), skin, False)
    for side in ('left', 'right'):
        model.panel(skull, side, (0.5, 1), (0, 0.65), skin)


def paint_pedestrian(rng, model):
    """A person who walks."""
    h, w, length = model.box[3:6]
    step = rng.uniform(0.8, 1) * (length / 2 - 0.16)
    swing = rng.uniform(0.5, 1) * (length / 2 - 0.06)
    first = pick(rng, (-1, 1))
    paint_person(
        rng, model, (0, 0.48 * h), 0.03,
        [(-sign * swing, 0.46 * h) for sign in (-first, first)],
        [(sign * step, 0) for sign in (-first, first)], w)


def paint_cyclist(rng, model):
    """A person on a bicycle, lamps before and behind."""
    h, w, length = model.box[3:6]
    radius = 0.19 * length
    frame = random_color(rng, (120, 230), (80, 230))
    for end in (-1, 1):
        hub = end * (length / 2 - radius)
        angles = np.arange(13) * np.pi / 6
        spokes = np.stack((np.cos(angles), np.sin(angles), np.zeros(13)), 1)
        for near, far in zip(spokes[:-1], spokes[1:], strict=True):
            model.add([(hub, radius, 0) + radius * factor * spoke for factor, spoke in (
                (1, near), (1, far), (0.8, far), (0.8, near))], RUBBER, two_sided=True)
        model.box_block(0.02, 2 * radius, hub - 0.02, hub + 0.02, -0.025, 0.025, RUBBER)
    front, back = length / 2 - radius, radius - length / 2
    saddle = 0.52 * h
    joints = dict(hub=(back, radius), pedals=(0, 0.8 * radius), seat=(-0.12 * length, saddle),
                  fork=(0.8 * front, 0.55 * h), wheel=(front, radius))
    for start, end in (('hub', 'pedals'), ('hub', 'seat'), ('pedals', 'seat'),
                       ('pedals', 'fork'), ('seat', 'fork'), ('fork', 'wheel')):
        (x1, y1), (x2, y2) = joints[start], joints[end]
        for breadth, depth in ((0.03, 0), (0, 0.025)):
            model.add([(x1, y1 - breadth, -depth), (x1, y1 + breadth, depth),
                       (x2, y2 + breadth, depth), (x2, y2 - breadth, -depth)], frame,
                      two_sided=True)
    bar = 0.58 * h
    x = 0.75 * front
    model.box_block(bar, bar + 0.04, x - 0.02, x + 0.02, -w / 2, w / 2, RUBBER)
    lamp = model.box_block(bar - 0.16, bar - 0.04, x, x + 0.1, -0.06, 0.06, RUBBER)
    model.panel(lamp, 'front', (0, 1), (0, 1), (235, 255, 255), True)
    lamp = model.box_block(saddle - 0.14, saddle - 0.02, back + 0.08, back + 0.14, -0.06, 0.06,
                           RUBBER)
    model.panel(lamp, 'back', (0, 1), (0, 1), (25, 20, 225), True)
    paint_person(
        rng, model, (-0.12 * length, saddle + 0.04), rng.uniform(0.12, 0.3),
        [(x - 0.05, bar + 0.08)] * 2, [(rng.uniform(-0.1, 0.1), up) for up in
                                       rng.permutation((0.08 * h, 0.2 * h))], w)


def paint_van(rng, model):
    """A van, a truck or a tram: a box on wheels, its front made of glass."""
    h, w, length = model.box[3:6]
    color, half = random_color(rng, (0, 200), (90, 250)), w / 2 - 0.02
    model.wheels((-0.32 * length, 0.34 * length), 0.4, half, 0.25)
    model.box_block(0.2, 0.6, -0.45 * length, 0.45 * length, -0.4 * w, 0.4 * w, (28, 26, 26))
    slope = min(0.5, 0.12 * length)
    body = model.block(0.35, (-length / 2, length / 2, -half, half), h,
                       (-length / 2, length / 2 - slope, -0.96 * half, 0.96 * half), color)
    model.panel(body, 'front', (0.06, 0.94), (0.5, 0.9), GLASS)
    model.panel(body, 'back', (0.1, 0.9), (0.55, 0.85), shade(GLASS, 0.8))
    for side in ('left', 'right'):
        model.panel(body, side, (0.77, 0.95), (0.5, 0.85), GLASS)
        model.panel(body, side, (0.05, 0.7), (0.3, 0.4), random_color(rng))
    model.lamps(body, (0.14, 0.28))


def paint_truck(rng, model):
    """A truck: a cab before a load."""
    h, w, length = model.box[3:6]
    half, cab = w / 2 - 0.02, length / 2 - 1.9
    color, load = random_color(rng, (60, 230), (70, 230)), random_color(rng, (0, 120), (90, 245))
    model.wheels((-0.34 * length, -0.2 * length, 0.36 * length), 0.48, half, 0.3)
    model.box_block(0.3, 0.9, -0.47 * length, cab, -0.4 * w, 0.4 * w, (30, 28, 28))
    back = model.box_block(0.9, h, -length / 2, cab - 0.1, -half, half, load)
    front = model.box_block(0.4, 0.82 * h, cab, length / 2, -half, half, color)
    model.panel(front, 'front', (0.06, 0.94), (0.5, 0.9), GLASS)
    for side in ('left', 'right'):
        model.panel(front, side, (0.45, 0.9), (0.5, 0.88), GLASS)
        model.panel(back, side, (0.1, 0.9), (0.4, 0.6), shade(load, 0.6))
    model.lamps(front, (0.08, 0.22))
    model.lamps({**front, 'back': back['back']}, (0.02, 0.1))


def paint_tram(rng, model):
    """A tram: windows all along."""
    h, w, length = model.box[3:6]
    color = random_color(rng, (120, 230), (90, 230))
    model.box_block(0, 0.3, -0.47 * length, 0.47 * length, -0.45 * w, 0.45 * w, (40, 38, 38))
    body = model.box_block(0.25, h, -length / 2, length / 2, -w / 2, w / 2, color)
    for side in ('left', 'right'):
        for start in np.arange(0.03, 0.95, 0.12):
            model.panel(body, side, (start, start + 0.09), (0.4, 0.78), GLASS)
    model.panel(body, 'front', (0.08, 0.92), (0.35, 0.85), GLASS)
    model.panel(body, 'back', (0.08, 0.92), (0.35, 0.85), shade(GLASS, 0.8))
    model.lamps(body, (0.1, 0.2))


def paint_trailer(rng, model):
    """A covered trailer on one axle."""
    h, w, length = model.box[3:6]
    color = random_color(rng)
    model.wheels((0, ), 0.32, w / 2 - 0.02, 0.2)
    body = model.box_block(0.35, h, -length / 2, length / 2 - 0.5, -0.44 * w, 0.44 * w, color)
    model.box_block(0.35, 0.45, length / 2 - 0.5, length / 2, -0.05, 0.05, CHROME)
    for side in ('left', 'right', 'front', 'back'):
        model.panel(body, side, (0, 1), (0, 0.3), CHROME)


PAINTERS = dict(
    Car=paint_car, Pedestrian=paint_pedestrian, Cyclist=paint_cyclist, Van=paint_van,
    Truck=paint_truck, Tram=paint_tram, Misc=paint_trailer)


def make_thing(rng, kind, box):
    """A thing of one of the types at a place.

    Args:
        rng (Generator): of numpy.
        kind (str): one of ``PAINTERS``.
        box (ndarray[7]): see :class:`Thing`.

    Returns:
        Thing: whose faces reach to the box's sides, the wheels' hubs not beyond them.
    """
    model = Model(np.asarray(box, float))
    PAINTERS[kind](rng, model)
    return Thing(kind, model.box, model.faces)


def make_clutter(rng, x, z, ground):
    """A pole with or without a sign, a tree, or a bin: not labeled."""
    kind = pick(rng, ('pole', 'sign', 'tree', 'bin'))
    if kind == 'bin':
        h, w = rng.uniform(0.8, 1.3), rng.uniform(0.5, 0.8)
        model = Model(np.array([x, ground, z, h, w, w, rng.uniform(-np.pi, np.pi)]))
        color = random_color(rng, (30, 200), (40, 180))
        model.box_block(0, 0.85 * h, -w / 2, w / 2, -w / 2, w / 2, color)
        model.box_block(0.85 * h, h, -w / 2, w / 2, -w / 2, w / 2, shade(color, 0.6))
    else:
        half, h = rng.uniform(0.05, 0.1), rng.uniform(2.3, 6)
        if kind == 'tree':
            half = 1.6 * half
        model = Model(np.array([x, ground, z, h, 2 * half, 2 * half, 0]))
        color = (50, 65, 80) if kind == 'tree' else random_color(rng, (0, 40), (70, 190))
        model.box_block(0, h, -half, half, -half, half, color)
        if kind == 'sign':
            model.disc(0, h, -half - 0.02, 0.32, pick(rng, ((40, 30, 190), (170, 90, 30))))
            model.disc(0, h, -half - 0.04, 0.22, (230, 230, 230))
        elif kind == 'tree':
            green = (rng.uniform(20, 50), rng.uniform(70, 130), rng.uniform(40, 90))
            for _ in range(9):
                model.disc(rng.normal(0, 0.6), h + rng.normal(0, 0.5), rng.normal(0, 0.4),
                           rng.uniform(0.4, 0.9), shade(green, rng.uniform(0.75, 1.2)))
    return Thing(CLUTTER, model.box, model.faces)


def overlap(box, other, gap=0.0):
    """Return whether the ground rectangles of two boxes [7] are nearer than about ``gap`` / 2.

    Both rectangles are made longer and wider by ``gap`` first.
    """
    rectangles = [((item[0], item[2]), (item[5] + gap, item[4] + gap), -np.degrees(item[6]))
                  for item in (box, other)]
    return cv2.rotatedRectangleIntersection(*rectangles)[0] != cv2.INTERSECT_NONE


def make_camera(rng, size):
    """A camera for pictures of about a size.

    Args:
        rng (Generator): of numpy.
        size (tuple[int, int]): width and height, px.

    Returns:
        Camera: most have that size; focal length, principal point, place and height vary.
    """
    width, height = size
    if chance(rng, 0.3):
        width = round(width * rng.uniform(0.94, 1.06))
        height = round(width / size[0] * size[1] * rng.uniform(0.98, 1.02))
    focal = FOCAL * size[0] * rng.uniform(0.96, 1.04)
    camera = np.array([[focal, 0, (width - 1) / 2 + rng.normal(0, 0.008) * width],
                       [0, focal, (0.36 + rng.normal(0, 0.012)) * height], [0, 0, 1]])
    offsets = np.array(OFFSETS) * rng.uniform(0.9, 1.1)
    # As many digits as a file of KITTI's has.
    matrices = np.array([[[float(f'{value:.6e}') for value in row] for row in np.column_stack(
        (camera, camera @ offset))] for offset in offsets])
    return Camera(matrices, (width, height), round(rng.normal(1.65, 0.02), 2))


def make_road(rng):
    """A road that the camera stands on, about as wide as a street's."""
    count, half = int(rng.integers(2, 5)), rng.uniform(1.6, 1.9)
    own = int(rng.integers(count // 2, count))
    lanes = (np.arange(count) - own) * 2 * half + rng.normal(0, 0.2)
    return Road(rng.normal(0, 0.06), lanes, half, np.arange(count) < count // 2)


def texture(rng, x, z, cell):
    """Noise of deviation 1 on the ground that changes over ``cell`` m and then repeats."""
    repeat = 64
    tile = rng.normal(size=(repeat, repeat)).astype(np.float32)
    return cv2.remap(tile, x / cell, z / cell, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def make_ground(rng, camera, road, xs, ys):
    """Color the ground.

    Args:
        rng (Generator): of numpy.
        camera (Camera): that sees it.
        road (Road): on it.
        xs, ys (ndarray[W], ndarray[H]): pixels, below the horizon.

    Returns:
        ndarray[H, W, 3]: BGR float32.
    """
    matrix = camera.cam2img
    focal = float(matrix[0, 0])
    # The projection solved for the ground; its last row's offset, millimeters, is left out.
    z = ((focal * camera.height + matrix[1, 3]) / (ys - matrix[1, 2]))[:, None]
    x = ((xs - matrix[0, 2]) * z - matrix[0, 3]) / focal
    z, x = z.astype(np.float32), x.astype(np.float32)
    across = road.across(x, z)
    along = z * math.cos(road.yaw) + x * math.sin(road.yaw)
    pixel = z / focal

    def within(low, high):
        """Return the fraction of each pixel between two places across the road."""
        low, high = float(low), float(high)
        return (np.clip((across - low) / pixel + 0.5, 0, 1)
                * np.clip((high - across) / pixel + 0.5, 0, 1))[..., None]

    def cover(ground, mask, color):
        return ground + (np.asarray(color, np.float32) - ground) * mask

    # In float32, which takes half the time.
    asphalt = rng.uniform(75, 125) + rng.normal(0, 4, 3)
    grass = np.array((rng.uniform(40, 70), rng.uniform(85, 130), rng.uniform(60, 110)))
    if chance(rng, 0.4):
        grass = asphalt * rng.uniform(1.1, 1.5)
    ground = np.broadcast_to(grass.astype(np.float32), (*x.shape, 3))
    left, right = road.edges
    pavement, curb = rng.uniform(1.5, 4), rng.uniform(150, 190)
    ground = cover(ground, within(left - pavement, right + pavement), asphalt * 1.25)
    ground = cover(ground, within(left - 0.15, right + 0.15), [curb] * 3)
    ground = cover(ground, within(left, right), asphalt)
    # Far details are smaller than pixels: they fade.
    bright = 1
    for cell in (0.15, 0.8, 4):
        fade = np.clip(cell / (3 * pixel * z / camera.height), 0, 1)
        bright = bright + rng.uniform(0.02, 0.06) * fade * texture(rng, across, along, cell)
    ground = ground * bright[..., None]
    dash, start = rng.uniform(2, 4), rng.uniform(0, 10)
    dashed = (np.mod(along + start, 2.5 * dash) < dash)[..., None]
    marks = 0.7 * sum(within(place - 0.06, place + 0.06) for place in (left + 0.25, right - 0.25))
    for index, lane in enumerate(road.lanes[:-1]):
        place = lane + road.half
        line = 0.85 * within(place - 0.07, place + 0.07)
        if road.oncoming[index] == road.oncoming[index + 1] or len(road.lanes) == 2:
            line *= dashed
        marks = marks + line
    ground = cover(ground, marks.clip(0, 1), [rng.uniform(190, 235)] * 3)
    # Haze: what is far takes the horizon's color.
    return cover(ground, 0.35 * (1 - np.exp(-z / 60))[..., None], (190, 185, 180))


def make_background(rng, camera, road):
    """Sky, houses and trees in the distance, and the ground: ndarray[H, W, 3] BGR uint8."""
    width, height = camera.size
    horizon = camera.cam2img[1, 2]
    first = int(np.floor(horizon)) + 1
    picture = np.zeros((height, width, 3), np.float32)
    low = np.array([rng.uniform(200, 245)] * 3) - (0, rng.uniform(0, 15), rng.uniform(0, 30))
    high = np.array((rng.uniform(170, 250), rng.uniform(130, 200), rng.uniform(90, 190)))
    fade = np.linspace(1, 0, first)[:, None, None]
    picture[:first] = high * fade + low * (1 - fade)
    clouds = smooth_noise(rng, height, width, 40) + smooth_noise(rng, height, width, 15) / 2
    picture += rng.uniform(0, 12) * np.clip(clouds, 0, None)[..., None]
    picture = np.clip(picture, 0, 255).astype(np.uint8)
    foot = first + 3
    for _ in range(int(rng.integers(3, 10))):
        x, half = rng.uniform(0, width), rng.uniform(0.02, 0.1) * width
        top = horizon - rng.uniform(0.05, 0.33) * height
        color = random_color(rng, (5, 90), (90, 220))
        x1, x2, y1 = int(x - half), int(x + half), int(top)
        if chance(rng, 0.6):
            cv2.rectangle(picture, (x1, y1), (x2, foot), color, -1)
            step = int(rng.integers(6, 11))
            for row in range(y1 + 3, foot - step // 2, step):
                for column in range(x1 + 3, x2 - step // 2, step):
                    cv2.rectangle(picture, (column, row), (column + step // 2, row + step // 2),
                                  shade(color, rng.uniform(0.5, 0.75)), -1)
        else:
            for _ in range(12):
                center = int(x + rng.normal(0, half / 2)), int(rng.uniform(top, foot))
                green = (rng.uniform(40, 80), rng.uniform(80, 130), rng.uniform(60, 110))
                cv2.circle(picture, center, int(rng.uniform(0.2, 0.5) * half) + 2, green, -1,
                           cv2.LINE_AA)
    ground = make_ground(rng, camera, road, np.arange(width), np.arange(first, height))
    picture[first:] = np.clip(ground, 0, 255).round()
    return picture


def sample_box(rng, kind, camera, road, depths):
    """A place for a thing: the box [7], its numbers rounded as labels are."""
    dims = np.array(MEAN_DIMS[kind]) * np.clip(rng.normal(1, 0.04, 3), 0.9, 1.1)
    z = rng.uniform(*depths)
    along = chance(rng, 0.8 if kind not in ('Pedestrian', 'Cyclist') else 0.5)
    x = (rng.uniform(-0.03, 1.03) * camera.size[0] - camera.cam2img[0, 2]) * z / (
        camera.cam2img[0, 0])
    rotation = rng.uniform(-np.pi, np.pi)
    if along:
        # The length points along the road, away from the camera or towards it.
        away = road.yaw - np.pi / 2
        left, right = road.edges
        if kind == 'Pedestrian':
            across = pick(rng, (left - rng.uniform(0.5, 2), right + rng.uniform(0.5, 2)))
            away += pick(rng, (0, np.pi))
        elif kind == 'Cyclist' or chance(rng, 0.15):
            # On the right of either direction, or parked there.
            inwards = dims[1] / 2 + rng.uniform(0, 0.5)
            onwards = chance(rng, 0.5)
            across = right - inwards if onwards else left + inwards
            away += 0 if onwards else np.pi
        else:
            lane = int(rng.integers(len(road.lanes)))
            across = road.lanes[lane] + rng.normal(0, 0.25)
            away += np.pi * road.oncoming[lane]
        x, rotation = road.x_at(across, z), away + rng.normal(0, 0.06)
    rotation = float(wrap_angle(torch.tensor(rotation, dtype=torch.float64)))
    box = np.array([x, camera.height, z, *dims, rotation]).round(2)
    # Rounding must not leave [-pi, pi).
    box[6] = np.clip(box[6], -3.14, 3.14)
    return box


def flat_boxes(boxes, camera):
    """Boxes around the projected corners of boxes [N, 7]: [N, 4] px, not cut."""
    pixels = camera.pixels(box_corners(torch.as_tensor(boxes)).numpy())
    return np.concatenate((pixels.min(-2), pixels.max(-2)), -1)


def cut_boxes(boxes, size):
    """Boxes [N, 4] cut to the picture, and the fractions [N] of their areas that are outside."""
    corners = boxes.reshape(-1, 2, 2)
    cut = corners.clip(0, np.array(size) - 1)
    area, left = (np.prod(np.diff(item, axis=1)[:, 0], -1) for item in (corners, cut))
    return cut.reshape(-1, 4), 1 - left / area


def place_things(rng, camera, road, kinds, depths, things):
    """Put things of some types where there is room; what finds none is left out."""
    for kind in kinds:
        for _ in range(30):
            box = sample_box(rng, kind, camera, road, depths)
            if box_corners(torch.as_tensor(box)).numpy()[:, 2].min() < NEAR:
                continue
            _, (truncated, ) = cut_boxes(flat_boxes(box[None], camera), camera.size)
            # Most are seen whole.
            if truncated > MAX_TRUNCATED or truncated > 0.12 and chance(rng, 0.7):
                continue
            if any(overlap(box, thing.box, GAP) for thing in things):
                continue
            things.append(make_thing(rng, kind, box))
            break


def make_scene(rng, size=(640, 213)):
    """Compose a picture.

    Args:
        rng (Generator): of numpy.
        size (tuple[int, int]): about the picture's width and height, px.

    Returns:
        Scene
    """
    camera, road = make_camera(rng, size), make_road(rng)
    background = make_background(rng, camera, road)
    things = []
    count = 1 + int(rng.choice(len(COUNTS), p=COUNTS))
    kinds = [pick(rng, SHARES, list(SHARES.values())) for _ in range(count)]
    if not set(kinds) & set(CLASSES):
        kinds[0] = CLASSES[1]
    place_things(rng, camera, road, kinds, DEPTHS, things)
    if chance(rng, 0.3):
        far = [pick(rng, CLASSES) for _ in range(int(rng.integers(1, 4)))]
        place_things(rng, camera, road, far, FAR_DEPTHS, things)
    for _ in range(int(rng.integers(5))):
        z = rng.uniform(9, 40)
        left, right = road.edges
        across = pick(rng, (left - rng.uniform(0.4, 5), right + rng.uniform(0.4, 5)))
        clutter = make_clutter(rng, road.x_at(across, z), z, camera.height)
        if not any(overlap(clutter.box, thing.box, GAP) for thing in things):
            things.append(clutter)
    angle, rise = rng.uniform(0, 2 * np.pi), rng.uniform(0.7, 1.2)
    sun = np.array((np.cos(angle) * np.cos(rise), -np.sin(rise), np.sin(angle) * np.cos(rise)))
    width, height = camera.size
    light = 1 + 0.03 * smooth_noise(rng, height, width, 60) + rng.uniform(
        0.005, 0.015) * smooth_noise(rng, height, width, 1.5)
    light = (light * rng.uniform(0.8, 1.15))[..., None].astype(np.float32)
    return Scene(camera, background, things, sun, light)


def to_fixed(points, scale=1):
    """Pixels -> fixed-point pixels of a canvas larger by a factor, both from pixel centers."""
    fine = (points + 0.5) * scale - 0.5
    return np.clip(fine * (1 << SHIFT), -2**28, 2**28).round().astype(np.int32)


def shadows(scene):
    """Factors [H, W, 1] of the ground: dark below things, less dark where the sun is hidden."""
    width, height = scene.camera.size
    cast, contact = np.zeros((2, height, width), np.uint8)
    for thing in scene.things:
        x, y, z, h, w, length, rotation = thing.box
        grown = np.array([x, y, z, 0, w + 0.1, length + 0.1, rotation])
        ring = box_corners(torch.as_tensor(grown)).numpy()[:4]
        fill(contact, to_fixed(scene.camera.pixels(ring)), 255, cv2.LINE_AA)
        away = -scene.sun / -scene.sun[1] * min(h, 3)
        shifted = ring * (1, 0, 1) + (away[0], y, away[2])
        shifted[:, 2] = shifted[:, 2].clip(1)
        points = np.vstack((ring, shifted))
        pixels = cv2.convexHull(scene.camera.pixels(points).astype(np.float32))[:, 0]
        fill(cast, to_fixed(pixels), 255, cv2.LINE_AA)
    contact, cast = (cv2.GaussianBlur(mask, (0, 0), deviation).astype(np.float32) / 255
                     for mask, deviation in ((contact, 0.8), (cast, 1.0)))
    return ((1 - 0.5 * contact) * (1 - 0.35 * cast))[..., None]


def fill(canvas, polygon, value, line=cv2.LINE_8):
    """Fill a convex polygon of fixed-point pixels."""
    cv2.fillConvexPoly(canvas, polygon, value, line, SHIFT)


def render(scene):
    """Draw a scene.

    Returns:
        tuple[ndarray[H, W, 3], ndarray[FINE * H, FINE * W], list[int]]: BGR uint8; the index of
        the thing on top at each pixel of the fine canvas, int16, -1 is none; and how many of
        these pixels each thing would have alone.
    """
    camera = scene.camera
    width, height = camera.size
    matrix = camera.cam2img
    inverse = np.linalg.inv(matrix[:, :3])
    offset = inverse @ matrix[:, 3]
    ground = scene.background * shadows(scene)
    ground[:int(matrix[1, 2]) + 1] = scene.background[:int(matrix[1, 2]) + 1]
    canvas = cv2.resize(ground.astype(np.uint8), (FINE * width, FINE * height),
                        interpolation=cv2.INTER_NEAREST)
    owners = np.full(canvas.shape[:2], -1, np.int16)
    # Of the nearest face: 1 / w of the projection, which is affine in the pixel on a plane.
    nearness = np.zeros(canvas.shape[:2], np.float32)
    alone = []
    for index, thing in enumerate(scene.things):
        silhouette = np.zeros(canvas.shape[:2], np.uint8)
        outlines = np.split(
            to_fixed(camera.pixels(np.concatenate([face.points for face in thing.faces])), FINE),
            np.cumsum([len(face.points) for face in thing.faces])[:-1])
        starts = np.array([face.points[:3] for face in thing.faces]) + offset
        normals = np.cross(starts[:, 2] - starts[:, 1], starts[:, 1] - starts[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        # How far the camera is before the plane of each face.
        before = -(normals * starts[:, 0]).sum(1)
        levels = -(normals @ inverse) / before[:, None]
        for face, fixed, normal, distance, level in zip(
                thing.faces, outlines, normals, before, levels, strict=True):
            if distance <= 0 and not face.two_sided:
                continue
            normal = normal * np.sign(distance)
            (x1, y1), (x2, y2) = (fixed.min(0) >> SHIFT).clip(0), (fixed.max(0) >> SHIFT) + 2
            window = np.s_[y1:max(y2, 0), x1:max(x2, 0)]
            near = nearness[window]
            if not near.size:
                continue
            mask = np.zeros(near.shape, np.uint8)
            fill(mask, fixed - (np.array((x1, y1)) << SHIFT), 1)
            silhouette[window] |= mask
            us, vs = ((start + np.arange(size) + 0.5) / FINE - 0.5
                      for start, size in ((x1, near.shape[1]), (y1, near.shape[0])))
            depth = (level[0] * us + (level[1] * vs + level[2])[:, None]).astype(np.float32)
            # Along its own edges a steep plane would be extrapolated.
            z = face.points[:, 2] + offset[2]
            np.clip(depth, 1 / z.max(), 1 / z.min(), out=depth)
            shown = (mask > 0) & (depth > near)
            near[shown] = depth[shown]
            bright = 1 if face.shines else 0.62 + 0.5 * max(normal @ scene.sun, 0)
            canvas[window][shown] = np.clip(shade(face.color, bright), 0, 255)
            owners[window][shown] = index
        alone.append(int(np.count_nonzero(silhouette)))
    image = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(image * scene.light, 0, 255).round().astype(np.uint8), owners, alone


def annotate(scene, owners, alone):
    """The labels of a drawn scene, see the top of this file.

    Args:
        scene (Scene): what was drawn.
        owners (ndarray), alone (list[int]): of :func:`render`.

    Returns:
        KittiObjects: regions of ``DontCare`` last.
    """
    seen = np.bincount(owners[owners >= 0], minlength=len(scene.things)) / np.maximum(alone, 1)
    indices = [i for i, thing in enumerate(scene.things)
               if thing.kind != CLUTTER and seen[i] >= UNNOTICED]
    things, seen = [scene.things[i] for i in indices], seen[indices]
    boxes = np.array([thing.box for thing in things]).reshape(-1, 7)
    bboxes, truncated = cut_boxes(flat_boxes(boxes, scene.camera), scene.camera.size)
    alpha = wrap_angle(torch.as_tensor(boxes[:, 6] - np.arctan2(boxes[:, 0], boxes[:, 2])))
    known = (seen >= OCCLUSION_LEVELS[-1]) & (boxes[:, 2] <= DEPTHS[1])
    occluded = (seen[:, None] < OCCLUSION_LEVELS).sum(1)
    order = np.argsort(~known, kind='stable')

    def column(values, unknown):
        """Values [N, ...] of objects, and what stands for them in regions."""
        mask = known.reshape(-1, *[1] * (np.ndim(values) - 1))
        return np.where(mask, values, unknown)[order]

    return KittiObjects(
        [things[i].kind if known[i] else CLASSLESS for i in order],
        column(truncated.round(2), -1), column(occluded, -1),
        column(alpha.numpy().round(2).clip(-3.14, 3.14), -10), bboxes[order].round(2),
        column(boxes[:, 3:6], -1), column(boxes[:, :3], -1000), column(boxes[:, 6], -10), None)


def write_calib(path, camera):
    """Write the cameras as a calibration file of KITTI's, laser and inertial unit included."""
    rows = {f'P{index}': matrix for index, matrix in enumerate(camera.matrices)}
    rows['R0_rect'] = np.eye(3)
    # The laser's axes are forward, left, up.
    rows['Tr_velo_to_cam'] = [[0, -1, 0, 0], [0, 0, -1, -0.08], [1, 0, 0, -0.27]]
    rows['Tr_imu_to_velo'] = [[1, 0, 0, -0.81], [0, 1, 0, 0.32], [0, 0, 1, -0.8]]
    path.write_text(''.join(
        f'{name}: ' + ' '.join(f'{value:.12e}' for value in np.ravel(matrix)) + '\n'
        for name, matrix in rows.items()))


def draw_split(split, folder, first, count, options):
    """Draw the pictures of one split below ``folder``, numbered from ``first``.

    Returns:
        dict: how many pictures, objects of each type and regions there are.
    """
    kinds = (*SHARES, CLASSLESS)
    total = dict.fromkeys(('pictures', *kinds), 0)
    names = []
    for index in range(count):
        # Each picture has its own random numbers: how many there are changes none of them.
        rng = np.random.default_rng((options['seed'], SPLITS.index(split), index))
        scene = make_scene(rng, tuple(options['size']))
        image, owners, alone = render(scene)
        objects = annotate(scene, owners, alone)
        names.append(f'{first + index:06d}')
        training = folder / 'training'
        encoded, data = cv2.imencode('.png', image)
        assert encoded
        (training / 'image_2' / f'{names[-1]}.png').write_bytes(data.tobytes())
        write_objects(training / 'label_2' / f'{names[-1]}.txt', objects)
        write_calib(training / 'calib' / f'{names[-1]}.txt', scene.camera)
        total['pictures'] += 1
        for kind in objects.types:
            total[kind] += 1
        if (index + 1) % 250 == 0 or index + 1 == count:
            print(f'  {split}: {index + 1} of {count} pictures', flush=True)
    (folder / 'ImageSets' / f'{split}.txt').write_text('\n'.join(names) + '\n')
    return total


def is_complete(folder, stamp):
    """Return whether a folder is complete and was made with these options."""
    if not has_stamp(folder, stamp):
        return False
    count = sum(stamp['options'][split] for split in SPLITS)
    files = [folder / 'ImageSets' / f'{split}.txt' for split in SPLITS]
    files += [folder / 'training' / part / f'{number:06d}.{extension}'
              for number in range(count) for part, extension in PARTS.items()]
    return all(path.is_file() for path in files)


def write_readme(folder, counts, options):
    """Describe the data."""
    kinds = list(next(iter(counts.values())))
    lines = [
        '# Road scenes', '',
        "Drawn road scenes in the format of KITTI's object benchmark, by "
        '`tools/demo_data/road_scenes.py` (which says what is labeled how) with '
        f'{json.dumps(options)}.', '',
        '| split | ' + ' | '.join(kinds) + ' |', '|---' * (len(kinds) + 1) + '|']
    for split, numbers in counts.items():
        lines.append(f'| {split} | ' + ' | '.join(map(str, numbers.values())) + ' |')
    (folder / 'README.md').write_text('\n'.join(lines) + '\n')


def make_dataset(out, train=1500, val=200, size=(640, 213), seed=0):
    """Draw the whole data set at ``out``, or leave everything as it was.

    Args:
        out (str | Path): folder of the data set.
        train, val (int): numbers of pictures.
        size (tuple[int, int]): about the width and height of a picture, px.
        seed (int): the same options draw the same data.

    Returns:
        bool: False if it was there already.

    Raises:
        UserError: if an option is out of range or ``out`` holds other files.
    """
    for name, value in dict(train=train, val=val).items():
        if value < 1:
            raise UserError(f'--{name} {value} must be at least 1')
    if min(size) < 64 or max(size) > 2048 or not 2 <= size[0] / size[1] <= 4:
        raise UserError(
            f'--size {size[0]} {size[1]} must be from 64 to 2048 px, and two to four times as '
            'wide as high')
    if seed < 0:
        raise UserError(f'--seed {seed} must be at least 0')
    out = Path(out)
    options = dict(train=train, val=val, size=list(size), seed=seed)
    stamp = dict(tool='road_scenes.py', format=FORMAT, options=options)
    if is_complete(out, stamp):
        print(f'{out} is there already, made with the same options: nothing to do')
        return False
    with whole_folder(out, stamp) as (new, _):
        for part in PARTS:
            (new / 'training' / part).mkdir(parents=True)
        (new / 'ImageSets').mkdir()
        print(f'drawing {train} + {val} pictures of about {size[0]} x {size[1]} px', flush=True)
        counts = dict(train=draw_split('train', new, 0, train, options),
                      val=draw_split('val', new, train, val, options))
        write_readme(new, counts, options)
    for split, numbers in counts.items():
        print(f'{split}: ' + ', '.join(f'{value} {name}' for name, value in numbers.items()))
    print(f'wrote {out}')
    return True


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description="Draw data/road_scenes: 3D boxes in KITTI's format.")
    parser.add_argument('--out', default='data/road_scenes', help='default: %(default)s')
    parser.add_argument(
        '--train', type=int, default=1500, help='number of training pictures (%(default)s)')
    parser.add_argument(
        '--val', type=int, default=200, help='number of validation pictures (%(default)s)')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(640, 213), metavar=('WIDTH', 'HEIGHT'),
        help='of most pictures, px; some differ by a few per cent (640 213)')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    return parser.parse_args(argv)


def main(argv=None):
    return run(make_dataset, parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
