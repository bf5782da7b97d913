"""JPEG images that are decoded only when their target size is known."""
import io
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.image import REDUCTIONS, decode_image

# Tag of the orientation in EXIF data; its values -> whether x and y of the image run against the
# stored ones; and the first value whose sides are swapped.
ORIENTATION = 0x0112
REVERSED = {2: (True, False), 3: (True, True), 4: (False, True), 6: (True, False),
            7: (True, True), 8: (False, True)}
FIRST_TRANSPOSED = 5


class EncodedImage:
    """A JPEG file that has not been decoded yet; only its header has been read.

    It is the ``img`` of a sample until a :class:`CenterWarp` decodes it. In any other transform,
    using it raises an error.

    Args:
        data (bytes): the whole file.
        name (str): name of the file in error messages.

    Attributes:
        size (tuple[int, int]): (width, height) of the whole image, upright, px.

    Raises:
        OSError: if the header cannot be read.
    """

    def __init__(self, data: bytes, name: str) -> None:
        with Image.open(io.BytesIO(data)) as image:
            exif = Image.Exif()
            # Not image.getexif(), which also reads XMP, unlike OpenCV.
            exif.load(image.info.get('exif', b''))
            self.size: tuple[int, int] = image.size
        orientation = exif.get(ORIENTATION, 1)
        if orientation in range(FIRST_TRANSPOSED, 9):
            self.size = self.size[::-1]
        self._reversed = REVERSED.get(orientation, (False, False))
        self._data = data
        self._name = name

    def decode(self, zoom: float) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Decode at the lowest resolution that is not below the target.

        Args:
            zoom (float): target px per px of the whole image.

        Returns:
            tuple: uint8 ndarray[H, W, 3], BGR, and float64 ndarray[3, 3], px of it -> px of the
            whole image.

        Raises:
            UserError: if the file is broken or truncated.
        """
        reduction = max(factor for factor in REDUCTIONS if factor == 1 or zoom * factor <= 1)
        img = decode_image(self._data, self._name, reduction)
        # A pixel covers `reduction` stored pixels in x and y, counted from the stored corner.
        expected = tuple(-(-side // reduction) for side in self.size)
        if img.shape[1::-1] != expected:
            raise UserError(
                f'image {self._name} is decoded to {img.shape[1]} x {img.shape[0]} px instead of '
                f'{expected[0]} x {expected[1]}: leave out defer=True of LoadImage')
        matrix = np.diag([reduction, reduction, 1.])
        for axis, (side, backwards) in enumerate(zip(self.size, self._reversed, strict=True)):
            matrix[axis, 2] = (reduction - 1) / 2
            if backwards:
                matrix[axis, 2] += side - reduction * expected[axis]
        return img, matrix

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith('_'):
            raise AttributeError(name)
        raise UserError(
            f'image {self._name} is not decoded yet, because LoadImage(defer=True) leaves that to '
            'mmdet_centernet.CenterAffine, CenterAffine3D, CenterPad or CenterResize: put one of '
            'these before all other transforms of the image, or leave out defer')


#: An image that may not be decoded yet.
AnyImage: TypeAlias = NDArray[Any] | EncodedImage


def size_of(img: AnyImage) -> tuple[int, int]:
    """Return (width, height) of an ndarray[H, W, ...] or an :class:`EncodedImage`."""
    if isinstance(img, EncodedImage):
        return img.size
    height, width = img.shape[:2]
    return width, height
