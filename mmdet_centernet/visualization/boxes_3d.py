"""Drawing of 3D boxes in the image of a camera."""
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from mmdet_centernet.ops.camera import box_corners

#: Indices of the corners around each of the six faces, in the order of
#: :func:`mmdet_centernet.ops.camera.box_corners`; the first face is the front.
FACES = np.array([[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [0, 1, 2, 3],
                  [4, 5, 6, 7]])
EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4],
                  [0, 4], [1, 5], [2, 6], [3, 7]])
# Near plane, meters: nearer points are clipped because their projection grows without bounds.
_NEAR = 0.1
# Lines are clipped this far outside of the image, as a fraction of its longer side, so that
# their ends are not visible.
_MARGIN = 0.05
# Width of lines and height of letters, as fractions of the image's longer side; their minima
# are in points.
_LINE, _THINNEST = 0.0018, 0.7
_TEXT, _SMALLEST_TEXT = 0.0105, 5.0
_LINE_OF_BOX = 0.03  # largest width of lines as a fraction of the box's height in the image
_LETTER = 0.6  # width of a letter as a fraction of its height
_ROW = 1.45  # height of a label divided by that of its letters
_HIDDEN = 0.4  # opacity of edges behind the box
_DARK, _LIGHT = '#101418', '#ffffff'


def corners_of(bboxes_3d: ArrayLike) -> NDArray[np.float64]:
    """Return the corners [N, 8, 3] of 3D boxes [N, 7].

    See :func:`mmdet_centernet.ops.camera.box_corners`.
    """
    boxes = np.asarray(bboxes_3d, dtype=np.float64).reshape(-1, 7)
    corners: NDArray[np.float64] = box_corners(torch.from_numpy(boxes)).numpy()
    return corners


def camera_center(cam2img: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the center of projection of a camera.

    Args:
        cam2img (ndarray[3, 4]): Camera matrix.

    Returns:
        ndarray[3]: Camera frame, meters.
    """
    return -np.asarray(np.linalg.solve(cam2img[:, :3], cam2img[:, 3]), dtype=np.float64)


class View:
    """View frustum of an image with a small margin, as half spaces.

    Args:
        cam2img (ndarray[3, 4]): Camera matrix of the image.
        image_size (tuple[float, float]): (width, height), px.
    """

    def __init__(self, cam2img: ArrayLike, image_size: tuple[float, float]) -> None:
        self._cam2img = np.asarray(cam2img, dtype=np.float64)
        width, height = image_size
        margin = _MARGIN * max(image_size)
        # A point w (u, v, 1) is inside if its products with all planes are positive.
        self._planes = np.array([
            [0, 0, 1], [1, 0, margin], [-1, 0, width + margin], [0, 1, margin],
            [0, -1, height + margin]])

    def _project(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project points [..., 3] to w (u, v, 1); return these and their distances to the planes.

        The signed distances [..., 5] are positive inside.
        """
        projected = points @ self._cam2img[:, :3].T + self._cam2img[:, 3]
        distances = projected @ self._planes.T
        distances[..., 0] -= _NEAR
        return projected, distances

    def segments(
        self, ends: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Clip lines to the view.

        Args:
            ends (ndarray[S, 2, 3]): Camera frame.

        Returns:
            tuple[ndarray[n, 2, 2], ndarray[n]]: The ends of the visible parts in the image,
            px, and the index of each in the S lines; invisible lines are left out.
        """
        projected, distances = self._project(ends)
        first, last = distances[:, 0], distances[:, 1]
        with np.errstate(divide='ignore', invalid='ignore'):
            crossing = first / (first - last)
        begin = np.where((first < 0) & (last >= 0), crossing, 0).max(axis=1)
        end = np.where((last < 0) & (first >= 0), crossing, 1).min(axis=1)
        kept = np.flatnonzero((begin < end) & ~((first < 0) & (last < 0)).any(axis=1))
        fraction = np.stack((begin[kept], end[kept]), axis=1)[..., None]
        start, stop = projected[kept, :1], projected[kept, 1:]
        clipped = start + fraction * (stop - start)
        return clipped[..., :2] / clipped[..., 2:], kept

    def polygon(self, corners: NDArray[np.float64]) -> NDArray[np.float64]:
        """Clip a flat convex polygon to the view (Sutherland and Hodgman).

        Args:
            corners (ndarray[n, 3]): Camera frame, in order around the polygon.

        Returns:
            ndarray[m, 2]: Corners of the visible part in the image, px; none if it is invisible.
        """
        projected, distances = self._project(corners)
        for border in range(len(self._planes)):
            here = distances[:, border, None]
            after, rows = np.roll(here, -1, axis=0), np.concatenate((projected, distances), axis=1)
            parts = []
            for index in range(len(rows)):
                if here[index] >= 0:
                    parts.append(rows[index])
                if (here[index] < 0) != (after[index] < 0):
                    fraction = here[index] / (here[index] - after[index])
                    following = rows[(index + 1) % len(rows)]
                    parts.append(rows[index] + fraction * (following - rows[index]))
            rows = np.array(parts).reshape(-1, rows.shape[1])
            projected, distances = rows[:, :3], rows[:, 3:]
        clipped: NDArray[np.float64] = projected[:, :2] / projected[:, 2:]
        return clipped


def visible_faces(corners: NDArray[np.float64], eye: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which faces of boxes face a camera.

    Args:
        corners (ndarray[N, 8, 3]): Corners of N boxes.
        eye (ndarray[3]): Position of the camera.

    Returns:
        ndarray[N, 6]: bool, in the order of :data:`FACES`; none from within a box.
    """
    centers = corners[:, FACES].mean(axis=2)
    outward = centers - corners.mean(axis=1, keepdims=True)
    visible: NDArray[np.bool_] = ((eye - centers) * outward).sum(axis=-1) > 0
    return visible


def texts_of(
    classes: Sequence[str],
    labels: ArrayLike,
    depths: ArrayLike,
    scores: ArrayLike | None = None,
) -> list[str]:
    """Return the texts beside boxes: 'Car 0.87 14.2 m', or without scores 'Car 14.2 m'.

    Args:
        classes (Sequence[str]): Names of all classes; others are called 'class 3'.
        labels (Sequence[int]): Labels of N boxes.
        depths (Sequence[float]): z, meters.
        scores (Sequence[float], optional): In [0, 1].

    Returns:
        list[str]
    """
    names = [classes[label] if label < len(classes) else f'class {label}'
             for label in np.asarray(labels, dtype=np.int64)]
    texts = ([''] * len(names) if scores is None else
             [f' {score:.2f}' for score in np.asarray(scores, dtype=np.float64)])
    return [f'{name}{text} {depth:.1f} m'
            for name, text, depth in zip(names, texts, np.asarray(depths, dtype=np.float64))]


def draw_boxes_3d(
    axes: Axes,
    bboxes_3d: ArrayLike,
    colors: Sequence[Any] | NDArray[Any],
    cam2img: ArrayLike,
    points_per_pixel: float,
    texts: Sequence[str] | None = None,
) -> None:
    """Draw 3D boxes, the nearest on top, with texts where there is room for them.

    The front is shaded, more strongly if it faces the camera, and an arrow on the bottom points to
    it. Hidden edges are faint. Parts behind the camera or outside of the image are clipped. Boxes
    with numbers that are not finite are left out.

    Args:
        axes (Axes): Axes in image pixels; their limits are the image's borders.
        bboxes_3d (ndarray[N, 7]): (x, y, z, h, w, l, rotation_y), camera frame.
        colors (Sequence[N]): Names or RGB in [0, 1].
        cam2img (ndarray[3, 4]): Camera matrix of the image.
        points_per_pixel (float): Typographic points of the figure per pixel of the image.
        texts (list[str], optional): One for each box.
    """
    size = float(np.ptp(axes.get_xlim())), float(np.ptp(axes.get_ylim()))
    view = View(cam2img, size)
    bboxes_3d = np.asarray(bboxes_3d, dtype=np.float64).reshape(-1, 7)
    drawn = np.flatnonzero(np.isfinite(bboxes_3d).all(axis=1))
    drawn = drawn[np.argsort(-bboxes_3d[drawn, 2], kind='stable')]
    corners = corners_of(bboxes_3d[drawn])
    faces = visible_faces(corners, camera_center(np.asarray(cam2img, dtype=np.float64)))
    of_edge = np.array([[set(edge) <= set(face) for face in FACES.tolist()]
                        for edge in EDGES.tolist()])
    in_front = (faces[:, None] & of_edge).any(axis=2)
    lines, which = view.segments(corners[:, EDGES].reshape(-1, 2, 3))
    owner, edge = np.divmod(which, len(EDGES))
    widest = max(_LINE * max(size) * points_per_pixel, _THINNEST)
    labels = _Labels(axes, size, points_per_pixel)
    for index, box in enumerate(drawn.tolist()):
        own = owner == index
        if not own.any():
            continue
        height = np.ptp(lines[own][..., 1]) * points_per_pixel
        width = float(np.clip(_LINE_OF_BOX * height, _THINNEST, widest))
        halo = _DARK if _luminance(colors[box]) > 0.15 else _LIGHT
        order = 1 + index / len(drawn)  # later artists of one box lie on top
        front = view.polygon(corners[index, FACES[0]])
        if len(front):
            axes.add_patch(Polygon(front, closed=True, facecolor=colors[box], edgecolor='none',
                                   alpha=0.45 if faces[index, 0] else 0.2, zorder=order))
        bottom = corners[index, FACES[4]]
        arrow, _ = view.segments(_arrow(bottom))
        visible = in_front[index, edge[own]]
        parts: Any = (
            (lines[own][~visible], _HIDDEN), (arrow, 0.9), (lines[own][visible], 1))
        for part, alpha in parts:
            for color, extra, opacity in ((halo, 1.0, 0.5 * alpha), (colors[box], 0, alpha)):
                axes.add_collection(LineCollection(
                    part, colors=[color], linewidths=width + extra, alpha=opacity,
                    capstyle='round', zorder=order), autolim=False)
        if texts:
            labels.add(lines[own].reshape(-1, 2), texts[box], colors[box], bboxes_3d[box, 2])
    labels.draw()


def _luminance(color: Any) -> float:
    """Return the luminance of a color, in [0, 1]."""
    return float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)))


def _arrow(bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lines [3, 2, 3] of an arrow on the ground from a box's middle to its front.

    Args:
        bottom (ndarray[4, 3]): Corners of the bottom, the front's first.
    """
    middle, tip = bottom.mean(axis=0), bottom[:2].mean(axis=0)
    barbs = [tip + 0.3 * (middle - tip) + 0.45 * (corner - tip) for corner in bottom[:2]]
    return np.array([[middle, tip], [barbs[0], tip], [barbs[1], tip]])


class _Labels:
    """Texts above boxes that do not overlap each other.

    The nearest objects are placed first. A label that would overlap another moves up by up to
    three rows, or below its object, or is left out.
    """

    def __init__(
        self, axes: Axes, size: tuple[float, float], points_per_pixel: float
    ) -> None:
        self._axes = axes
        self._size = size
        self._points = max(_TEXT * max(size) * points_per_pixel, _SMALLEST_TEXT)
        self._pixels = self._points / points_per_pixel
        self._wanted: list[
            tuple[float, NDArray[np.float64], NDArray[np.float64], str, Any]] = []

    def add(self, outline: NDArray[np.float64], text: str, color: Any, depth: float) -> None:
        """Request a text at the points [n, 2] that outline an object."""
        inside = np.clip(outline, 0, self._size)
        self._wanted.append((depth, inside.min(axis=0), inside.max(axis=0), text, color))

    def draw(self) -> None:
        """Draw as many texts as there is room for."""
        taken = np.empty((0, 4))
        row = _ROW * self._pixels
        for _, (left, top), (_, bottom), text, color in sorted(
                self._wanted, key=lambda wanted: wanted[0]):
            width = (len(text) + 1) * _LETTER * self._pixels
            x = min(left, max(self._size[0] - width, 0))
            for y in (*(top - (i + 1) * row for i in range(4)), bottom, top):
                place = np.array([x, y, x + width, y + row])
                overlaps = ((taken[:, :2] < place[2:]) & (taken[:, 2:] > place[:2])).all(axis=1)
                if 0 <= y <= self._size[1] - row and not overlaps.any():
                    taken = np.vstack((taken, place))
                    self._write(place, text, color)
                    break

    def _write(self, place: NDArray[np.float64], text: str, color: Any) -> None:
        x1, y1, _, y2 = place
        self._axes.text(
            x1 + 0.3 * self._pixels, (y1 + y2) / 2, text, fontsize=self._points, color='white',
            va='center_baseline', ha='left', clip_on=True, zorder=3,
            bbox=dict(boxstyle='square,pad=0.12', facecolor=_DARK, alpha=0.62,
                      edgecolor=color, linewidth=0.1 * self._points),
            path_effects=[withStroke(linewidth=1, foreground=_DARK)])
