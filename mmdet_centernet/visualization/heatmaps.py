"""Heat maps over photos."""
import cv2
import numpy as np
from matplotlib import colormaps

HEAT = 'inferno'


def heatmap_to_image(heatmap, image_shape, homography, stride):
    """Bring a heat map into the frame of the original image.

    Args:
        heatmap (ndarray[H, W] | ndarray[H, W, C]): Values at feature cells, C <= 4.
        image_shape (tuple[int, int]): (height, width) of the original image, pixels.
        homography (ndarray[3, 3]): Original pixels to network-input pixels.
        stride (int): Input pixels per cell.

    Returns:
        ndarray[height, width] | ndarray[height, width, C]: float32, bilinear between the
        centres of cells, 0 outside.
    """
    # Integer positions are centres of pixels and cells; a cell covers [s c, s (c + 1)).
    to_cells = np.array([[1 / stride, 0, -0.5], [0, 1 / stride, -0.5], [0, 0, 1]])
    from_pixels = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = to_cells @ np.asarray(homography, dtype=np.float64) @ from_pixels
    height, width = image_shape
    return cv2.warpPerspective(
        np.asarray(heatmap, dtype=np.float32), matrix, (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def heatmap_overlay(image, heatmap, top=1.0):
    """Lay a coloured heat map over a photo.

    The photo is turned to a dim grey, so that colour means heat alone; what is more probable
    covers more of it.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        heatmap (ndarray[H, W]): Probabilities.
        top (float): The probability that has the brightest colour.

    Returns:
        ndarray[H, W, 3]: uint8 RGB.

    Raises:
        ValueError: If the sizes differ.
    """
    if image.shape[:2] != heatmap.shape:
        raise ValueError(f'the image is {image.shape[:2]} (H, W) and the heat map '
                         f'{heatmap.shape}: bring it into the image with heatmap_to_image')
    heat = np.clip(heatmap / top, 0, 1)
    return blend(image, colormaps[HEAT](heat)[..., :3], heat)


def blend(image, color, heat):
    """Lay colours over a dim grey photo.

    Args:
        image (ndarray[H, W, 3]): uint8 RGB.
        color (ndarray[H, W, 3]): RGB in [0, 1].
        heat (ndarray[H, W]): In [0, 1]: 0 shows the photo, 1 the colour; between them the
            square root of it covers the photo.

    Returns:
        ndarray[H, W, 3]: uint8 RGB.
    """
    grey = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2) * 0.6
    cover = np.sqrt(heat)[..., None]
    return np.round(grey * (1 - cover) + color * 255 * cover).astype(np.uint8)


def top_of(heat):
    """The probability to show at full strength.

    Short trainings find the right places with low probabilities; what is written beside the
    picture says so.

    Args:
        heat (ndarray): Probabilities.

    Returns:
        float: The next tenth above all of them, at least 0.2.
    """
    return float(np.clip(np.ceil(heat.max(initial=0) * 10) / 10, 0.2, 1))
