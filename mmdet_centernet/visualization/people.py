"""Drawing people: joints, the links between them, joint heat maps."""
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Circle

from mmdet_centernet.visualization.heatmaps import blend, top_of

_DARK = '#101418'
# Radius of a joint, as a share of the longer side of its person, and of the image at most.
_OF_PERSON, _OF_IMAGE = 0.025, 0.011
_ABOVE_BOXES = 2  # zorder: within it what is added later lies on top
_SMALLEST_RADIUS = 1.2  # points; a smaller joint has no colour that could be told


@dataclass(frozen=True)
class PoseStyle:
    """What a skeleton looks like.

    Attributes:
        joint_colors (ndarray[K, 3]): RGB in [0, 1].
        links (list[tuple[int, int]]): Joints between which a line is drawn.
        link_colors (ndarray[L, 3]): RGB in [0, 1].
    """

    joint_colors: np.ndarray
    links: list
    link_colors: np.ndarray

    @classmethod
    def of(cls, dataset_meta, num_keypoints):
        """The style of a data set, or colours far apart and no links if it is of other joints.

        Args:
            dataset_meta (dict): ``keypoint_colors`` K RGB in 0..255, ``skeleton_links`` pairs
                of joints, ``skeleton_link_colors`` as many RGB (without them a link has the
                colour of its second joint).
            num_keypoints (int): K of what is to be drawn.

        Returns:
            PoseStyle
        """
        colors = dataset_meta.get('keypoint_colors')
        if colors is None or len(colors) != num_keypoints:
            hues = colormaps['hsv'](np.arange(num_keypoints) / max(num_keypoints, 1))
            return cls(hues[:, :3], [], np.empty((0, 3)))
        colors = np.asarray(colors, dtype=np.float64) / 255
        links = [tuple(map(int, link)) for link in dataset_meta.get('skeleton_links', ())]
        link_colors = dataset_meta.get('skeleton_link_colors')
        link_colors = (colors[[end for _, end in links]] if link_colors is None
                       else np.asarray(link_colors, dtype=np.float64).reshape(-1, 3) / 255)
        return cls(colors, links, link_colors)


def draw_people(axes, keypoints, seen, style, bboxes, points_per_pixel, hollow=None):
    """Draw skeletons, the first person on top.

    A link is drawn where both of its ends are seen. Joints and links grow with their person.

    Args:
        axes (Axes): With image pixels as its units.
        keypoints (ndarray[N, K, 2]): xy, pixels.
        seen (ndarray[N, K]): bool, the joints that are drawn.
        style (PoseStyle): Of K joints.
        bboxes (ndarray[N, 4]): xyxy, pixels; they tell the size of the people.
        points_per_pixel (float): Typographic points of the picture per pixel of the image.
        hollow (ndarray[N, K], optional): bool, joints that are rings (the occluded).
    """
    hollow = np.zeros_like(seen) if hollow is None else hollow
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    largest = _OF_IMAGE * max(right - left, bottom - top) * points_per_pixel
    for person in reversed(range(len(keypoints))):
        joints = np.flatnonzero(seen[person])
        if not len(joints):
            continue
        places = keypoints[person]
        sides = bboxes[person, 2:] - bboxes[person, :2]
        if not sides.max() > 0:  # of a head that learns no sizes
            sides = np.ptp(places[joints], axis=0)
        radius = float(np.clip(_OF_PERSON * sides.max() * points_per_pixel,
                               _SMALLEST_RADIUS, max(largest, _SMALLEST_RADIUS)))
        drawn = [index for index, (a, b) in enumerate(style.links)
                 if seen[person, a] and seen[person, b]]
        lines = [places[list(style.links[index])] for index in drawn]
        edge = 0.35 * radius
        for color, width in ((_DARK, radius + 2 * edge), (style.link_colors[drawn], radius)):
            axes.add_collection(LineCollection(
                lines, colors=color, linewidths=width, capstyle='round', zorder=_ABOVE_BOXES),
                autolim=False)
        rings = hollow[person, joints]
        colors = style.joint_colors[joints]
        for color, size in ((_DARK, radius + edge), (colors, radius)):
            _draw_discs(axes, places[joints], size / points_per_pixel, color)
        _draw_discs(axes, places[joints[rings]], 0.55 * radius / points_per_pixel, _DARK)


def _draw_discs(axes, centers, radius, colors):
    """Discs around points [n, 2]; the radius is in pixels of the image."""
    axes.add_collection(PatchCollection(
        [Circle(center, radius) for center in centers], facecolors=colors, edgecolors='none',
        zorder=_ABOVE_BOXES), autolim=False)


def joint_heat(heatmaps, style):
    """Lay joint heat maps upon each other, each in its joint's colour.

    Args:
        heatmaps (ndarray[K, H, W]): Probabilities.
        style (PoseStyle): Of K joints.

    Returns:
        ndarray[H, W, 4]: float32: the largest probability, and the mean of the joints' colours
        (RGB in [0, 1]) weighted by their squared probabilities.
    """
    weights = np.square(heatmaps, dtype=np.float64)
    color = np.einsum('khw,kc->hwc', weights, style.joint_colors)
    color /= np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)[..., None]
    return np.dstack((heatmaps.max(axis=0), color)).astype(np.float32)


def joints_overlay(image, heat):
    """Lay joint heat maps over a photo.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        heat (ndarray[H, W, 4]): Of :func:`joint_heat`, in the image's frame
            (:func:`heatmap_to_image`).

    Returns:
        ndarray[H, W, 3]: uint8 RGB; the probability :func:`top_of` covers the photo whole.
    """
    probability, color = heat[..., 0], heat[..., 1:]
    return blend(image, color, np.clip(probability / top_of(probability), 0, 1))
