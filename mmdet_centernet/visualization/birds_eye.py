"""Drawing of 3D boxes in the bird's-eye view."""
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import MultipleLocator
from numpy.typing import ArrayLike, NDArray

from mmdet_centernet.visualization.boxes_3d import camera_center, corners_of

#: Color of the outlines of the ground truth.
TRUTH_OUTLINE = '#14181d'
_OUTSIDE, _INSIDE, _GRID, _WRITING = '#dfe3e8', '#fbfcfd', '#c3c9d0', '#3c444d'
# Meters: least depth and half width of the shown range, largest default range, margins behind the
# camera and around the objects.
_LEAST_FAR, _LEAST_SIDE, _MOST, _BEHIND, _ROOM = 20.0, 8.0, 120.0, 1.0, 1.5
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_LINES = 9  # most grid lines in one direction
_HEADING = 0.3  # length of the heading mark in front of the box, as a fraction of its length


def view_range(bboxes_3d: ArrayLike, aspect: float = 1.0) -> tuple[float, float, float, float]:
    """Return the part of the ground that contains boxes.

    Args:
        bboxes_3d (ndarray[N, 7]): (x, y, z, h, w, l, rotation_y), camera frame.
        aspect (float): Width of the plot divided by its height.

    Returns:
        tuple[float, float, float, float]: Least and largest x, least and largest z, meters,
        with the camera in the middle. It contains all boxes, except for what is more than 120 m
        away.
    """
    ground = corners_of(_finite(bboxes_3d))[:, :4, ::2].reshape(-1, 2)
    ground = ground[(np.abs(ground) <= _MOST - _ROOM).all(axis=1)]
    side = max(np.abs(ground[:, 0]).max(initial=0) + _ROOM, _LEAST_SIDE)
    far = max(ground[:, 1].max(initial=0) + _ROOM, _LEAST_FAR)
    near = min(ground[:, 1].min(initial=0) - _ROOM, -_BEHIND)
    if 2 * side / (far - near) > aspect:
        far = near + 2 * side / aspect
    else:
        side = (far - near) * aspect / 2
    return -side, side, near, far


def field_of_view(
    cam2img: NDArray[np.float64], image_width: float, far: float
) -> NDArray[np.float64]:
    """Return the part of the ground that an image shows.

    Args:
        cam2img (ndarray[3, 4]): Camera matrix of the image.
        image_width (float): px.
        far (float): Largest z, meters, in front of the camera.

    Returns:
        ndarray[3, 2]: x and z of a triangle: the camera, and the image's left and right borders
        at ``far``, at the height of the camera.
    """
    eye = camera_center(cam2img)
    # Seen from the eye, w (u, v, 1) is linear in the direction; v is that of the direction ahead.
    ahead = cam2img[:, :3] @ (0, 0, 1)
    rays = [np.linalg.solve(cam2img[:, :3], (u, ahead[1] / ahead[2], 1))
            for u in (0, image_width)]
    return np.array([eye, *(eye + (far - eye[2]) / ray[2] * ray for ray in rays)])[:, ::2]


def draw_birds_eye(
    axes: Axes,
    groups: Sequence[dict[str, Any]],
    cam2img: ArrayLike,
    image_width: float,
    shown: tuple[float, float, float, float] | None = None,
    text_size: float = 7.0,
) -> None:
    """Draw boxes in the bird's-eye view: x to the right, z upward, in meters.

    A line from the middle of each box over its front shows the heading. The part of the ground
    that the image does not show is gray.

    Args:
        axes (Axes): Axes of fixed size.
        groups (list[dict]): Drawn in this order: ``bboxes_3d`` ndarray[N, 7], camera frame,
            ``colors`` (Sequence[N]: names or RGB in [0, 1]), and optional ``filled`` (bool:
            instead of thick outlines), ``names`` (list of (color, name), for the legend).
        cam2img (ndarray[3, 4]): Camera matrix of the image.
        image_width (float): px.
        shown (tuple[float], optional): Least and largest x, least and largest z, meters. By
            default, :func:`view_range` of all boxes.
        text_size (float): Points.
    """
    cam2img = np.asarray(cam2img, dtype=np.float64)
    boxes = [_finite(group['bboxes_3d']) for group in groups]
    if shown is None:
        place = axes.get_window_extent()
        shown = view_range(np.concatenate([np.empty((0, 7)), *boxes]),
                           place.width / place.height)
    left, right, near, far = shown
    axes.set(xlim=(left, right), ylim=(near, far), aspect='equal', facecolor=_OUTSIDE)
    beyond = 2 * max(abs(near), abs(far), right - left)
    axes.add_patch(Polygon(field_of_view(cam2img, image_width, beyond), facecolor=_INSIDE,
                           edgecolor='none', zorder=0))
    _draw_grid(axes, max(right - left, far - near), text_size)
    eye = camera_center(cam2img)
    axes.plot(eye[0], eye[2], marker='^', markersize=0.9 * text_size, color=_WRITING, zorder=2)
    outside = 0
    for order, group in enumerate(groups):
        kept: Any = np.isfinite(
            np.asarray(group['bboxes_3d'], dtype=np.float64)).all(axis=1)
        colors = [color for color, keep in zip(group['colors'], kept) if keep]
        _draw_group(axes, boxes[order], colors, group.get('filled', False), text_size, 3 + order)
        x, z = boxes[order][:, 0], boxes[order][:, 2]
        outside += int(((x < left) | (x > right) | (z < near) | (z > far)).sum())
    if outside:
        axes.text(0.99, 0.99, f'{outside} outside', transform=axes.transAxes, ha='right',
                  va='top', fontsize=text_size, color=_WRITING, zorder=20)
    _draw_legend(axes, groups, text_size)


def _finite(bboxes_3d: ArrayLike) -> NDArray[np.float64]:
    """Return the boxes [n, 7] of finite numbers, float64."""
    boxes = np.asarray(bboxes_3d, dtype=np.float64).reshape(-1, 7)
    return boxes[np.isfinite(boxes).all(axis=1)]


def _draw_grid(axes: Axes, span: float, text_size: float) -> None:
    """Draw lines at whole meters, with their distances at the left and at the bottom."""
    step = next((step for step in _STEPS if span / step <= _LINES), _STEPS[-1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:g} m')
    axes.set_axisbelow(True)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.tick_params(length=0, labelsize=text_size, labelcolor=_WRITING, pad=2)
    for spine in axes.spines.values():
        spine.set(color=_GRID, linewidth=0.8)


def _draw_group(
    axes: Axes,
    bboxes_3d: NDArray[np.float64],
    colors: list[Any],
    filled: bool,
    text_size: float,
    order: int,
) -> None:
    """Draw rectangles with headings, the last below the others."""
    if not len(bboxes_3d):
        return
    corners: Any = corners_of(bboxes_3d)[::-1, :4, ::2]
    colors = colors[::-1]
    width = (0.14 if filled else 0.32) * text_size
    middle, front = corners.mean(axis=1), corners[:, :2].mean(axis=1)
    heading: Any = np.stack((middle, front + 2 * _HEADING * (front - middle)), axis=1)
    if filled:
        axes.add_collection(PolyCollection(corners, facecolors=colors, edgecolors='none',
                                           alpha=0.35, zorder=order), autolim=False)
    axes.add_collection(PolyCollection(corners, facecolors='none', edgecolors=colors,
                                       linewidths=width, joinstyle='miter', zorder=order),
                        autolim=False)
    axes.add_collection(LineCollection(heading, colors=colors, linewidths=width,
                                       capstyle='butt', zorder=order), autolim=False)


def _draw_legend(axes: Axes, groups: Sequence[dict[str, Any]], text_size: float) -> None:
    """Draw the names of the colors, in the corner that the image does not show."""
    handles = [
        Line2D([], [], color=color, label=name,
               linewidth=(0.55 if group.get('filled') else 0.32) * text_size)
        for group in groups for color, name in group.get('names', ())]
    if handles:
        axes.legend(handles=handles, loc='lower left', fontsize=text_size, borderpad=0.4,
                    handlelength=1.3, labelspacing=0.3, borderaxespad=0.4, framealpha=0.8,
                    edgecolor=_GRID, labelcolor=_WRITING, handletextpad=0.5).set_zorder(20)
