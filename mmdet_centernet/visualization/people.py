"""Drawing skeletons: keypoints, the links between them, keypoint heatmaps."""
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Circle

from mmdet_centernet.visualization.heatmaps import blend, top_of

_DARK = '#101418'
# Radius of a keypoint, as a fraction of the longer side of its object, and of the image at most.
_OF_PERSON, _OF_IMAGE = 0.025, 0.011
_ABOVE_BOXES = 2  # zorder: within it what is added later lies on top
_SMALLEST_RADIUS = 1.2  # points; the color of a smaller keypoint cannot be told


@dataclass(frozen=True)
class PoseStyle:
    """Colors and links of a skeleton.

    Attributes:
        joint_colors (ndarray[K, 3]): of keypoints, RGB in [0, 1].
        links (list[tuple[int, int]]): keypoints between which a line is drawn.
        link_colors (ndarray[L, 3]): RGB in [0, 1].
    """

    joint_colors: np.ndarray
    links: list[tuple[int, int]]
    link_colors: np.ndarray

    @classmethod
    def of(cls, skeleton: Mapping[str, Any], num_keypoints: int) -> 'PoseStyle':
        """Return the style of a skeleton, or colors far apart and no links if it does not fit.

        Args:
            skeleton (dict): a data set's metainfo, or that of one class: ``keypoint_colors`` K
                RGB in 0..255, ``skeleton_links`` pairs of keypoints, ``skeleton_link_colors`` as
                many RGB (without them a link has the color of its second keypoint).
            num_keypoints (int): K of what is to be drawn.
        """
        colors = skeleton.get('keypoint_colors')
        if colors is None or len(colors) != num_keypoints:
            hues = colormaps['hsv'](np.arange(num_keypoints) / max(num_keypoints, 1))
            return cls(hues[:, :3], [], np.empty((0, 3)))
        colors = np.asarray(colors, dtype=np.float64) / 255
        links = [(int(start), int(end)) for start, end in skeleton.get('skeleton_links', ())]
        link_colors = skeleton.get('skeleton_link_colors')
        link_colors = (colors[[end for _, end in links]] if link_colors is None
                       else np.asarray(link_colors, dtype=np.float64).reshape(-1, 3) / 255)
        return cls(colors, links, link_colors)

    @classmethod
    def of_heatmaps(cls, dataset_meta: Mapping[str, Any], count: int) -> 'PoseStyle':
        """Return the style of keypoint heatmaps: that of a skeleton with as many keypoints."""
        skeletons = dataset_meta.get('skeletons') or {}
        fitting = [each for each in (dataset_meta, *skeletons.values())
                   if len(each.get('keypoint_colors', ())) == count]
        return cls.of(fitting[0] if fitting else {}, count)


def find_skeleton(
    dataset_meta: Mapping[str, Any], label: int, num_keypoints: int
) -> tuple[Mapping[str, Any], int] | None:
    """Return the skeleton of a class and its number of keypoints; None without keypoints.

    Args:
        dataset_meta (dict): ``classes`` and ``skeletons``, from their names to skeletons; or one
            skeleton for all classes.
        label (int): of the class.
        num_keypoints (int): K of the objects at hand, which are padded to the largest skeleton.
            If none has K, the skeletons are of something else: nothing is known of this class's.
    """
    skeletons = dataset_meta.get('skeletons')
    if skeletons is None:
        return dataset_meta, num_keypoints
    if num_keypoints not in (each['num_keypoints'] for each in skeletons.values()):
        return {}, num_keypoints
    classes = dataset_meta.get('classes') or ()
    found = skeletons.get(classes[label]) if label < len(classes) else None
    if found is None or found['num_keypoints'] > num_keypoints:
        return None
    return found, found['num_keypoints']


def find_styles(
    dataset_meta: Mapping[str, Any], labels: Sequence[int], num_keypoints: int
) -> list[PoseStyle | None]:
    """Return the style of each object's skeleton; None for objects without keypoints.

    Args:
        dataset_meta (dict), num_keypoints (int): see :func:`find_skeleton`.
        labels (Sequence[int]): of N objects.
    """
    styles = {}
    for label in set(labels):
        found = find_skeleton(dataset_meta, label, num_keypoints)
        styles[label] = found and PoseStyle.of(*found)
    return [styles[label] for label in labels]


def draw_people(
    axes: Axes,
    keypoints: np.ndarray,
    seen: np.ndarray,
    styles: Sequence[PoseStyle | None],
    bboxes: np.ndarray,
    points_per_pixel: float,
    hollow: np.ndarray | None = None,
) -> None:
    """Draw skeletons, the first object on top.

    A link is drawn where both of its ends are seen. Keypoints and links grow with their object.

    Args:
        axes (Axes): with image pixels as its units.
        keypoints (ndarray[N, K, 2]): xy, pixels.
        seen (ndarray[N, K]): bool, the keypoints that are drawn.
        styles (Sequence[PoseStyle | None]): of the objects, each of at most K keypoints. The
            others, and objects without a style, are not drawn.
        bboxes (ndarray[N, 4]): xyxy, pixels; they tell the size of the objects.
        points_per_pixel (float): typographic points of the picture per pixel of the image.
        hollow (ndarray[N, K], optional): bool, keypoints that are rings (the occluded).
    """
    hollow = np.zeros_like(seen) if hollow is None else hollow
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    largest = _OF_IMAGE * max(right - left, bottom - top) * points_per_pixel
    for person in reversed(range(len(keypoints))):
        style = styles[person]
        if style is None:
            continue
        joints = np.flatnonzero(seen[person, :len(style.joint_colors)])
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


def _draw_discs(
    axes: Axes, centers: np.ndarray, radius: float, colors: np.ndarray | str
) -> None:
    """Draw discs around points [n, 2]; the radius is in pixels of the image."""
    axes.add_collection(PatchCollection(
        [Circle(center, radius) for center in centers], facecolors=colors, edgecolors='none',
        zorder=_ABOVE_BOXES), autolim=False)


def joint_heat(heatmaps: np.ndarray, style: PoseStyle) -> np.ndarray:
    """Lay keypoint heatmaps upon each other, each in its keypoint's color.

    Args:
        heatmaps (ndarray[K, H, W]): probabilities.
        style (PoseStyle): of K keypoints.

    Returns:
        ndarray[H, W, 4]: float32: the largest probability, and the mean of the keypoints' colors
        (RGB in [0, 1]) weighted by their squared probabilities.
    """
    weights = np.square(heatmaps, dtype=np.float64)
    color = np.einsum('khw,kc->hwc', weights, style.joint_colors)
    color /= np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)[..., None]
    return np.dstack((heatmaps.max(axis=0), color)).astype(np.float32)


def joints_overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay keypoint heatmaps over a photo.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        heat (ndarray[H, W, 4]): of :func:`joint_heat`, in the image's frame
            (:func:`heatmap_to_image`).

    Returns:
        ndarray[H, W, 3]: uint8 RGB; the probability :func:`top_of` covers the photo whole.
    """
    probability, color = heat[..., 0], heat[..., 1:]
    return blend(image, color, np.clip(probability / top_of(probability), 0, 1))
