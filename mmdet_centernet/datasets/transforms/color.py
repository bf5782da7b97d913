"""Color transforms; they do not change coordinates."""
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import TRANSFORMS

# Weights of blue, green and red in gray (ITU-R BT.601, as in cv2.COLOR_BGR2GRAY).
GRAY_WEIGHTS = np.array([0.114, 0.587, 0.299])
# Principal components of ImageNet's colors on the scale [0, 1], as in the original implementation:
# rows are blue, green, red, columns are components.
EIGENVALUES = np.array([0.2141788, 0.01817699, 0.00341571])
EIGENVECTORS = np.array([
    [-0.58752847, -0.69563484, 0.41340352],
    [-0.5832747, 0.00994535, -0.81221408],
    [-0.56089297, 0.71832671, 0.41158938]])
# Rows of an image whose colors are computed at a time.
STRIP = 64


@TRANSFORMS.register_module()
class ColorJitterPCA(BaseTransform):
    """Transform of brightness, contrast and saturation in random order, then PCA lighting.

    This is the color augmentation of CornerNet and CenterNet. Brightness, contrast and
    saturation blend the image with black, with its mean gray or with its own gray, at a factor
    uniform in ``1 +- strength``. Lighting (Krizhevsky et al. 2012) adds a random color along the
    principal components of ImageNet's colors. Gray is always that of the unchanged image.

    Together these steps are one affine map of the three channels, which is computed in a single
    pass.

    Reads and writes ``img``: BGR in [0, 255], uint8 or float32, [H, W, 3]; the result is
    float32 and not clipped to [0, 255], as in the original implementation. Its channels are planar
    in memory, so that packing does not copy.

    With ``on_device`` the image is unchanged, so that a uint8 image needs a quarter of the bytes
    on the way from the worker to the training process. :class:`CenterNetDataPreprocessor` then
    applies ``color_matrix`` (float32 [3, 4]: new channels = matrix @ (b, g, r, 1)), which must be
    in the ``meta_keys`` of the packing. No later transform sees the new colors.

    Args:
        brightness, contrast, saturation (float): strengths in [0, 1).
        lighting (float): standard deviation of the three coefficients.
        on_device (bool): leave the map to the data preprocessor.

    Raises:
        UserError: if an option is out of range, the image does not have three channels, or its
            sample already has a ``color_matrix``.
    """

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        lighting: float = 0.1,
        on_device: bool = False,
    ) -> None:
        self.strengths = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        for name, strength in self.strengths.items():
            if not 0 <= strength < 1:
                raise UserError(f'ColorJitterPCA needs 0 <= {name} < 1, not {strength}')
        if lighting < 0:
            raise UserError(f'ColorJitterPCA needs lighting >= 0, not {lighting}')
        self.lighting = lighting
        self.on_device = on_device

    @cache_randomness
    def _draw(self) -> tuple[list[tuple[str, float]], NDArray[np.float64]]:
        """Draw the (step, factor) pairs in order, and the three lighting coefficients."""
        names = list(self.strengths)
        steps = []
        for index in np.random.permutation(len(names)):
            strength = self.strengths[names[index]]
            steps.append((names[index], 1 + np.random.uniform(-strength, strength)))
        return steps, np.random.normal(scale=self.lighting, size=3)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Change the colors of a sample's image, or note how to."""
        img = results['img']
        if img.ndim != 3 or img.shape[2] != 3:
            raise UserError(
                f'{results.get("img_path", "an image")} has shape {img.shape}, but '
                'ColorJitterPCA needs [H, W, 3]: load it with mmdet_centernet.LoadImage')
        if 'color_matrix' in results:
            raise UserError(
                f'{results.get("img_path", "an image")} has a color_matrix already: leave out '
                'the second ColorJitterPCA, or on_device of the first')
        matrix = self._color_matrix(img)
        if self.on_device:
            results['color_matrix'] = matrix
            planes = np.empty((3, *img.shape[:2]), img.dtype)
            cv2.split(img, list(planes))
        else:
            planes = map_colors(img, matrix)
        results['img'] = planes.transpose(1, 2, 0)
        return results

    def _color_matrix(self, img: NDArray[Any]) -> NDArray[np.float32]:
        """Draw the map of the channels and a constant 1 to the new channels: float32 [3, 4]."""
        steps, coefficients = self._draw()
        mean_gray = GRAY_WEIGHTS @ cv2.mean(img)[:3]
        # The result is own * img + gray * (gray of img) + constant.
        own, gray, constant = 1., 0., 0.
        for name, factor in steps:
            own, gray, constant = factor * own, factor * gray, factor * constant
            if name == 'contrast':
                constant += (1 - factor) * mean_gray
            elif name == 'saturation':
                gray += 1 - factor
        matrix = own * np.eye(3) + gray * GRAY_WEIGHTS
        light = 255 * EIGENVECTORS @ (EIGENVALUES * coefficients)
        return np.column_stack([matrix, constant + light]).astype(np.float32)

    def __repr__(self) -> str:
        options = ', '.join(f'{key}={value}' for key, value in self.strengths.items())
        return (f'{type(self).__name__}({options}, lighting={self.lighting}, '
                f'on_device={self.on_device})')


def map_colors(img: NDArray[Any], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Transform the colors of every pixel by one matrix.

    Args:
        img (ndarray[H, W, 3]): uint8 or float32.
        matrix (ndarray[3, 4]): maps the channels and a constant 1 to the new channels.

    Returns:
        ndarray[3, H, W]: float32.
    """
    planes = np.empty((3, *img.shape[:2]), np.float32)
    # Strips stay in the cache; a float32 copy of the whole image costs more than the arithmetic.
    for top in range(0, len(img), STRIP):
        rows = slice(top, top + STRIP)
        colors = cv2.transform(img[rows].astype(np.float32, copy=False), matrix)
        cv2.split(colors, list(planes[:, rows]))
    return planes
