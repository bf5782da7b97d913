"""Drawing boxes in space into the image that a camera took of them."""
import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon
from matplotlib.patheffects import withStroke

from mmdet_centernet.ops.camera import box_corners

#: Corners of the six faces, in the order of :func:`mmdet_centernet.ops.camera.box_corners`,
#: each around its face; the first is the front.
FACES = np.array([[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [0, 1, 2, 3],
                  [4, 5, 6, 7]])
EDGES = np.array([[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4],
                  [0, 4], [1, 5], [2, 6], [3, 7]])
# What is nearer to the camera is cut off, metres: a projection grows without bounds there.
_NEAR = 0.1
# Lines end so far outside of the image, as a share of its longer side, that no end is seen.
_MARGIN = 0.05
# Width of lines and height of letters, as shares of the image's longer side; points at least.
_LINE, _THINNEST = 0.0018, 0.7
_TEXT, _SMALLEST_TEXT = 0.0105, 5.0
_LINE_OF_BOX = 0.03  # the width of lines as a share of the box's height in the image, at most
_LETTER = 0.6  # width of a letter as a share of its height
_ROW = 1.45  # height of a label as a share of that of its letters
_HIDDEN = 0.4  # opacity of edges behind the box
_DARK, _LIGHT = '#101418', '#ffffff'


def corners_of(bboxes_3d):
    """Corners [N, 8, 3] of boxes [N, 7], see :func:`mmdet_centernet.ops.camera.box_corners`."""
    boxes = np.asarray(bboxes_3d, dtype=np.float64).reshape(-1, 7)
    return box_corners(torch.from_numpy(boxes)).numpy()


def camera_center(cam2img):
    """Where a camera stands.

    Args:
        cam2img (ndarray[3, 4]): The camera.

    Returns:
        ndarray[3]: Camera frame, metres.
    """
    return -np.linalg.solve(cam2img[:, :3], cam2img[:, 3])


class View:
    """What a camera sees, a little more than its image, as half spaces.

    Args:
        cam2img (ndarray[3, 4]): Of the image.
        image_size (tuple[float, float]): (width, height), px.
    """

    def __init__(self, cam2img, image_size):
        self._cam2img = np.asarray(cam2img, dtype=np.float64)
        width, height = image_size
        margin = _MARGIN * max(image_size)
        # Of w (u, v, 1): inside is where all of the products are positive.
        self._planes = np.array([
            [0, 0, 1], [1, 0, margin], [-1, 0, width + margin], [0, 1, margin],
            [0, -1, height + margin]])

    def _seen(self, points):
        """Points [..., 3] as w (u, v, 1), and their signed distances [..., 5] to the borders."""
        seen = points @ self._cam2img[:, :3].T + self._cam2img[:, 3]
        distances = seen @ self._planes.T
        distances[..., 0] -= _NEAR
        return seen, distances

    def segments(self, ends):
        """The seen parts of lines.

        Args:
            ends (ndarray[S, 2, 3]): Camera frame.

        Returns:
            tuple[ndarray[n, 2, 2], ndarray[n]]: Their ends in the image, px, and which of the
            S they are, for those that are seen at all.
        """
        seen, distances = self._seen(ends)
        first, last = distances[:, 0], distances[:, 1]
        with np.errstate(divide='ignore', invalid='ignore'):
            crossing = first / (first - last)
        begin = np.where((first < 0) & (last >= 0), crossing, 0).max(axis=1)
        end = np.where((last < 0) & (first >= 0), crossing, 1).min(axis=1)
        kept = np.flatnonzero((begin < end) & ~((first < 0) & (last < 0)).any(axis=1))
        share = np.stack((begin[kept], end[kept]), axis=1)[..., None]
        start, stop = seen[kept, :1], seen[kept, 1:]
        cut = start + share * (stop - start)
        return cut[..., :2] / cut[..., 2:], kept

    def polygon(self, corners):
        """The seen part of a flat convex polygon.

        Args:
            corners (ndarray[n, 3]): Camera frame, around it.

        Returns:
            ndarray[m, 2]: Its corners in the image, px; none if nothing is seen.
        """
        seen, distances = self._seen(corners)
        for border in range(len(self._planes)):
            here = distances[:, border, None]
            after, rows = np.roll(here, -1, axis=0), np.concatenate((seen, distances), axis=1)
            parts = []
            for index in range(len(rows)):
                if here[index] >= 0:
                    parts.append(rows[index])
                if (here[index] < 0) != (after[index] < 0):
                    share = here[index] / (here[index] - after[index])
                    following = rows[(index + 1) % len(rows)]
                    parts.append(rows[index] + share * (following - rows[index]))
            rows = np.array(parts).reshape(-1, rows.shape[1])
            seen, distances = rows[:, :3], rows[:, 3:]
        return seen[:, :2] / seen[:, 2:]


def visible_faces(corners, eye):
    """Which faces of boxes are turned to a camera.

    Args:
        corners (ndarray[N, 8, 3]): Of N boxes.
        eye (ndarray[3]): Where the camera stands.

    Returns:
        ndarray[N, 6]: bool, in the order of :data:`FACES`; none from within a box.
    """
    centers = corners[:, FACES].mean(axis=2)
    outward = centers - corners.mean(axis=1, keepdims=True)
    return ((eye - centers) * outward).sum(axis=-1) > 0


def texts_of(classes, labels, depths, scores=None):
    """What is written at boxes: 'Car 0.87 14.2 m', or without scores 'Car 14.2 m'.

    Args:
        classes (Sequence[str]): Names of all classes; others are called 'class 3'.
        labels (Sequence[int]): Of N boxes.
        depths (Sequence[float]): z, metres.
        scores (Sequence[float], optional): In [0, 1].

    Returns:
        list[str]
    """
    names = [classes[label] if label < len(classes) else f'class {label}' for label in labels]
    scores = [''] * len(names) if scores is None else [f' {score:.2f}' for score in scores]
    return [f'{name}{score} {depth:.1f} m' for name, score, depth in zip(names, scores, depths)]


def draw_boxes_3d(axes, bboxes_3d, colors, cam2img, points_per_pixel, texts=None):
    """Draw boxes in space, the nearest on top, with texts where there is room for them.

    The front is shaded, the more if it is turned to the camera, and an arrow on the bottom
    points to it; edges behind the box are faint. What lies behind the camera or outside of the
    image is cut off; boxes of numbers that are not finite are left out.

    Args:
        axes (Axes): With image pixels as its units; its limits are the image's borders.
        bboxes_3d (ndarray[N, 7]): (x, y, z, h, w, l, rotation_y), camera frame.
        colors (Sequence[N]): Names or RGB in [0, 1].
        cam2img (ndarray[3, 4]): Of the image.
        points_per_pixel (float): Typographic points of the picture per pixel of the image.
        texts (list[str], optional): One for each box.
    """
    size = tuple(float(np.ptp(limits)) for limits in (axes.get_xlim(), axes.get_ylim()))
    view = View(cam2img, size)
    bboxes_3d = np.asarray(bboxes_3d, dtype=np.float64).reshape(-1, 7)
    drawn = np.flatnonzero(np.isfinite(bboxes_3d).all(axis=1))
    drawn = drawn[np.argsort(-bboxes_3d[drawn, 2], kind='stable')]
    corners = corners_of(bboxes_3d[drawn])
    faces = visible_faces(corners, camera_center(np.asarray(cam2img, dtype=np.float64)))
    of_edge = np.array([[set(edge) <= set(face) for face in FACES.tolist()]
                        for edge in EDGES.tolist()])
    ahead = (faces[:, None] & of_edge).any(axis=2)
    lines, which = view.segments(corners[:, EDGES].reshape(-1, 2, 3))
    owner, edge = np.divmod(which, len(EDGES))
    widest = max(_LINE * max(size) * points_per_pixel, _THINNEST)
    labels = _Labels(axes, size, points_per_pixel)
    for index, box in enumerate(drawn):
        own = owner == index
        if not own.any():
            continue
        height = np.ptp(lines[own][..., 1]) * points_per_pixel
        width = float(np.clip(_LINE_OF_BOX * height, _THINNEST, widest))
        halo = _DARK if _luminance(colors[box]) > 0.15 else _LIGHT
        order = 1 + index / len(drawn)  # within it what is added later lies on top
        front = view.polygon(corners[index, FACES[0]])
        if len(front):
            axes.add_patch(Polygon(front, closed=True, facecolor=colors[box], edgecolor='none',
                                   alpha=0.45 if faces[index, 0] else 0.2, zorder=order))
        bottom = corners[index, FACES[4]]
        arrow, _ = view.segments(_arrow(bottom))
        seen = ahead[index, edge[own]]
        for part, alpha in ((lines[own][~seen], _HIDDEN), (arrow, 0.9), (lines[own][seen], 1)):
            for color, extra, opacity in ((halo, 1.0, 0.5 * alpha), (colors[box], 0, alpha)):
                axes.add_collection(LineCollection(
                    part, colors=[color], linewidths=width + extra, alpha=opacity,
                    capstyle='round', zorder=order), autolim=False)
        if texts:
            labels.add(lines[own].reshape(-1, 2), texts[box], colors[box], bboxes_3d[box, 2])
    labels.draw()


def _luminance(color):
    """How light a colour is, in [0, 1]."""
    return float(np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722)))


def _arrow(bottom):
    """Lines [3, 2, 3] on the ground from the middle of a box to that of its front.

    Args:
        bottom (ndarray[4, 3]): The corners, the front's first.
    """
    middle, tip = bottom.mean(axis=0), bottom[:2].mean(axis=0)
    barbs = [tip + 0.3 * (middle - tip) + 0.45 * (corner - tip) for corner in bottom[:2]]
    return np.array([[middle, tip], [barbs[0], tip], [barbs[1], tip]])


class _Labels:
    """Texts above boxes that do not cover each other.

    The nearest objects choose first. A label that would cover another moves up by up to
    three rows, or below its object, or is left out.
    """

    def __init__(self, axes, size, points_per_pixel):
        self._axes = axes
        self._size = size
        self._points = max(_TEXT * max(size) * points_per_pixel, _SMALLEST_TEXT)
        self._pixels = self._points / points_per_pixel
        self._wanted = []

    def add(self, outline, text, color, depth):
        """Want a text at the points [n, 2] that outline an object."""
        inside = np.clip(outline, 0, self._size)
        self._wanted.append((depth, inside.min(axis=0), inside.max(axis=0), text, color))

    def draw(self):
        """Write as many as there is room for."""
        taken = np.empty((0, 4))
        row = _ROW * self._pixels
        for _, (left, top), (_, bottom), text, color in sorted(
                self._wanted, key=lambda wanted: wanted[0]):
            width = (len(text) + 1) * _LETTER * self._pixels
            x = min(left, max(self._size[0] - width, 0))
            for y in (*(top - (i + 1) * row for i in range(4)), bottom, top):
                place = np.array([x, y, x + width, y + row])
                covers = ((taken[:, :2] < place[2:]) & (taken[:, 2:] > place[:2])).all(axis=1)
                if 0 <= y <= self._size[1] - row and not covers.any():
                    taken = np.vstack((taken, place))
                    self._write(place, text, color)
                    break

    def _write(self, place, text, color):
        x1, y1, _, y2 = place
        self._axes.text(
            x1 + 0.3 * self._pixels, (y1 + y2) / 2, text, fontsize=self._points, color='white',
            va='center_baseline', ha='left', clip_on=True, zorder=3,
            bbox=dict(boxstyle='square,pad=0.12', facecolor=_DARK, alpha=0.62,
                      edgecolor=color, linewidth=0.1 * self._points),
            path_effects=[withStroke(linewidth=1, foreground=_DARK)])
