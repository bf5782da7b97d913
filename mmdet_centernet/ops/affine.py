"""Warps of the image plane by a center and a scale, as 3x3 matrices (numpy only).

Convention: points are (x, y) in pixels, integer coordinates are pixel centers, matrices act
on column vectors ``(x, y, 1)`` from the left, and boxes are ``(x1, y1, x2, y2)``. This is
the frame of ``cv2.warpAffine`` and of CenterNet (Zhou et al.), the original implementation,
which warps boxes and pixels by the same matrix. Flipping an image of width W moves a pixel from
``x`` to ``W - 1 - x`` (MMDetection's flip moves boxes to ``W - x``).
"""
import numpy as np
from numpy.typing import ArrayLike, NDArray

Size = tuple[int, int]
Matrix = NDArray[np.float64]


# Fit the whole image, of which nothing is cut off, or its width alone.
FITS = ('whole', 'width')


def fit_zoom(size: Size, out_size: Size, fit: str = 'whole') -> float:
    """Return the zoom at which an image of ``size`` just fits into ``out_size``.

    For a square output this is the original's side / max(width, height). For other outputs
    the original uses the output's width alone, so that the image may extend beyond the top and
    the bottom; with ``fit='whole'`` nothing is cut off.

    Args:
        size (tuple[int, int]): (width, height), px.
        out_size (tuple[int, int]): (width, height), px.
        fit (str): one of ``FITS``.

    Returns:
        float: output px per input px.

    Raises:
        ValueError: for an unknown ``fit``.
    """
    if fit not in FITS:
        raise ValueError(f'fit={fit!r} must be one of {FITS}')
    if fit == 'width':
        return out_size[0] / size[0]
    return min(out_size[0] / size[0], out_size[1] / size[1])


def center_warp(center: tuple[float, float], zoom: float, out_size: Size) -> Matrix:
    """Return the matrix that zooms about a point and moves it to the center of the output.

    ``x' = zoom * (x - center_x) + out_width / 2``, likewise for y (Objects as Points,
    Sec. 5: random scaling and cropping).

    Args:
        center (tuple[float, float]): (x, y) in the input.
        zoom (float): output px per input px, not zero.
        out_size (tuple[int, int]): (width, height) of the output, px.

    Returns:
        ndarray[3, 3]: float64.
    """
    return np.array([
        [zoom, 0, out_size[0] / 2 - zoom * center[0]],
        [0, zoom, out_size[1] / 2 - zoom * center[1]],
        [0, 0, 1]], dtype=np.float64)


def camera_view(
    cam2img: ArrayLike, camera: tuple[float, float, float], out_size: Size
) -> tuple[tuple[float, float], float]:
    """Return the center and the zoom at which an image is as another camera would see it.

    Args:
        cam2img (ndarray[3, 4]): camera of the image.
        camera (tuple[float, float, float]): (focal length, x, y of the principal point) of the
            output, px.
        out_size (tuple[int, int]): (width, height) of the output, px.

    Returns:
        tuple: (x, y) in the image that moves to the center of the output; output px per px of
        the image. Both are arguments of :func:`center_warp`.
    """
    cam2img = np.asarray(cam2img, np.float64)
    focal, x, y = camera
    zoom = focal / cam2img[1, 1]
    return (cam2img[0, 2] + (out_size[0] / 2 - x) / zoom,
            cam2img[1, 2] + (out_size[1] / 2 - y) / zoom), zoom


def flip_warp(width: int) -> Matrix:
    """Return the matrix that flips an image of this width: ``x' = width - 1 - x``."""
    return np.array([[-1, 0, width - 1], [0, 1, 0], [0, 0, 1]], dtype=np.float64)


def scaled_size(size: Size, scale: float) -> Size:
    """Return the size in px of an image at a test scale; each side is ``int(side * scale)``.

    Raises:
        ValueError: if a side becomes 0.
    """
    width, height = int(size[0] * scale), int(size[1] * scale)
    if min(width, height) < 1:
        raise ValueError(
            f'an image of {size[0]} x {size[1]} px has no pixels left at the scale {scale:g}')
    return width, height


def pad_warp(size: Size, pad_mask: int, scale: float = 1.0) -> tuple[Size, Matrix, Size]:
    """Return the padding of an image at its own resolution (the original's ``keep_res``).

    The image is first resized to :func:`scaled_size` if ``scale`` is not 1. Then each side
    grows to ``(side | pad_mask) + 1``, and pixel ``side // 2`` moves to its middle, which is a
    shift by whole pixels.

    Args:
        size (tuple[int, int]): (width, height) of the image, px.
        pad_mask (int): 2^k - 1; the sides become multiples of ``pad_mask + 1``.
        scale (float): test scale, positive.

    Returns:
        tuple: (width, height) to resize to; float64 ndarray[3, 3], px of the resized image ->
        px of the output; (width, height) of the output.

    Raises:
        ValueError: if a side of the resized image is 0.
    """
    scaled = scaled_size(size, scale)
    out_size = (scaled[0] | pad_mask) + 1, (scaled[1] | pad_mask) + 1
    return scaled, center_warp((scaled[0] // 2, scaled[1] // 2), 1, out_size), out_size


def fit_warp(size: Size, out_size: Size, fit: str = 'whole',
             scale: float = 1.0) -> tuple[Size, Matrix, Size]:
    """Return the warp that fits an image into a fixed size (the original's ``fix_res``).

    The image is first resized to :func:`scaled_size` if ``scale`` is not 1. Its center moves to
    the center of the output, at the zoom of :func:`fit_zoom` for the image before resizing, so
    that it fills ``scale`` times its usual part of the output.

    Args:
        size (tuple[int, int]): (width, height) of the image, px.
        out_size (tuple[int, int]): (width, height) of the output, px.
        fit (str): one of ``FITS``.
        scale (float): test scale, positive.

    Returns:
        tuple: see :func:`pad_warp`.

    Raises:
        ValueError: if a side of the resized image is 0, or for an unknown ``fit``.
    """
    scaled = scaled_size(size, scale)
    zoom = fit_zoom(size, out_size, fit)
    return scaled, center_warp((scaled[0] / 2, scaled[1] / 2), zoom, out_size), out_size


def invert_warp(matrix: ArrayLike) -> Matrix:
    """Invert a warp.

    Args:
        matrix (ndarray[3, 3]): an invertible warp.

    Returns:
        ndarray[3, 3]: float64.
    """
    inverse: Matrix = np.linalg.inv(np.asarray(matrix, dtype=np.float64))
    return inverse


def warp_points(points: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Apply a warp to points.

    Args:
        points (ndarray[..., 2]): (x, y).
        matrix (ndarray[3, 3]): the warp.

    Returns:
        ndarray[..., 2]: float64.
    """
    points = np.asarray(points, dtype=np.float64)
    matrix = np.asarray(matrix, dtype=np.float64)
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    cartesian: NDArray[np.float64] = moved[..., :2] / moved[..., 2:]
    return cartesian


def warp_boxes(boxes: ArrayLike, matrix: ArrayLike) -> NDArray[np.float64]:
    """Apply a warp to boxes and return the axis-aligned boxes around the results.

    Args:
        boxes (ndarray[N, 4]): (x1, y1, x2, y2).
        matrix (ndarray[3, 3]): the warp; may flip or rotate.

    Returns:
        ndarray[N, 4]: float64, x1 <= x2 and y1 <= y2.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    corners = warp_points(boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2), matrix)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
