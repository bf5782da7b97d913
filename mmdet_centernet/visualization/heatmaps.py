"""Heatmaps over images."""
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from numpy.typing import ArrayLike, NDArray

HEAT = 'inferno'


def heatmap_to_image(
    heatmap: ArrayLike, image_shape: tuple[int, int], homography: ArrayLike, stride: int
) -> NDArray[np.float32]:
    """Warp a heatmap to the frame of the original image.

    Args:
        heatmap (ndarray[H, W] | ndarray[H, W, C]): Values at feature cells, C <= 4.
        image_shape (tuple[int, int]): (height, width) of the original image, pixels.
        homography (ndarray[3, 3]): Original pixels to network-input pixels.
        stride (int): Input pixels per cell.

    Returns:
        ndarray[height, width] | ndarray[height, width, C]: float32, interpolated
        bilinearly between the centers of cells, 0 outside.
    """
    # Integer positions are the centers of pixels and cells; a cell covers [s c, s (c + 1)).
    to_cells = np.array([[1 / stride, 0, -0.5], [0, 1 / stride, -0.5], [0, 0, 1]])
    from_pixels = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = to_cells @ np.asarray(homography, dtype=np.float64) @ from_pixels
    height, width = image_shape
    warped: Any = cv2.warpPerspective(
        np.asarray(heatmap, dtype=np.float32), matrix, (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    in_image: NDArray[np.float32] = warped
    return in_image


def heatmap_overlay(
    image: NDArray[np.uint8], heatmap: NDArray[Any], top: float = 1.0
) -> NDArray[np.uint8]:
    """Blend a colored heatmap over an image.

    The image becomes a dim gray, so that colors show the heatmap only. Higher probabilities are
    more opaque.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        heatmap (ndarray[H, W]): Probabilities.
        top (float): The probability of the brightest color.

    Returns:
        ndarray[H, W, 3]: uint8 RGB.

    Raises:
        ValueError: If the sizes differ.
    """
    if image.shape[:2] != heatmap.shape:
        raise ValueError(f'the image is {image.shape[:2]} (H, W) and the heatmap '
                         f'{heatmap.shape}: warp it to the image with heatmap_to_image')
    heat = np.clip(heatmap / top, 0, 1)
    return blend(image, colormaps[HEAT](heat)[..., :3], heat)


def blend(
    image: NDArray[np.uint8], color: NDArray[Any], heat: NDArray[Any]
) -> NDArray[np.uint8]:
    """Blend colors over a dim gray version of an image.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        color (ndarray[H, W, 3]): RGB in [0, 1].
        heat (ndarray[H, W]): In [0, 1]; its square root is the opacity of the color.

    Returns:
        ndarray[H, W, 3]: uint8 RGB.
    """
    gray = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2) * 0.6
    opacity = np.sqrt(heat)[..., None]
    blended: NDArray[np.uint8] = np.round(
        gray * (1 - opacity) + color * 255 * opacity).astype(np.uint8)
    return blended


def top_of(heat: NDArray[Any]) -> float:
    """Return the probability to draw at full opacity.

    After a short training the peaks are in the right places but low. The scale beside the figure
    shows this.

    Args:
        heat (ndarray): Probabilities.

    Returns:
        float: The next tenth above all probabilities, at least 0.2.
    """
    return float(np.clip(np.ceil(heat.max(initial=0) * 10) / 10, 0.2, 1))
