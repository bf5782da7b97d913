"""JPEG images whose decoding waits until it is known how large they are to be."""
import io

import numpy as np
from PIL import Image

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.image import REDUCTIONS, decode_image

# Tag of the orientation in EXIF data, and its values: which of x and y of the picture run
# against the stored ones, and from which value on the sides change places.
ORIENTATION = 0x0112
REVERSED = {2: (True, False), 3: (True, True), 4: (False, True), 6: (True, False),
            7: (True, True), 8: (False, True)}
FIRST_TRANSPOSED = 5


class EncodedImage:
    """A JPEG file that has not been decoded yet; only its header has been read.

    In a sample it stands in the place of ``img``. :class:`CenterWarp` knows what to do with it;
    for any other transform it is an error that says so.

    Args:
        data (bytes): the whole file.
        name (str): the file's, for errors.

    Attributes:
        size (tuple[int, int]): (width, height) of the whole picture, upright, px.

    Raises:
        OSError: if the header cannot be read.
    """

    def __init__(self, data, name):
        with Image.open(io.BytesIO(data)) as image:
            exif = Image.Exif()
            # Not image.getexif(), which looks into XMP too, as OpenCV does not.
            exif.load(image.info.get('exif', b''))
            self.size = image.size
        orientation = exif.get(ORIENTATION, 1)
        if orientation in range(FIRST_TRANSPOSED, 9):
            self.size = self.size[::-1]
        self._reversed = REVERSED.get(orientation, (False, False))
        self._data = data
        self._name = name

    def decode(self, zoom):
        """Decode at the least resolution that is not below the one wanted.

        Args:
            zoom (float): px wanted per px of the whole picture.

        Returns:
            tuple: uint8 ndarray[H, W, 3], BGR, and float64 ndarray[3, 3], px of it -> px of the
            whole picture.

        Raises:
            UserError: if the file is broken or truncated.
        """
        reduction = max(factor for factor in REDUCTIONS if factor == 1 or zoom * factor <= 1)
        img = decode_image(self._data, self._name, reduction)
        # A pixel covers `reduction` of the stored ones each way, counted from the stored corner.
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

    def __getattr__(self, name):
        if name.startswith('_'):
            raise AttributeError(name)
        raise UserError(
            f'image {self._name} is not decoded yet, as LoadImage(defer=True) leaves that to '
            'mmdet_centernet.CenterAffine, CenterAffine3D, CenterPad or CenterResize: put one of '
            'these before all other transforms of the image, or leave out defer')


def size_of(img):
    """(width, height) of an ndarray[H, W, ...] or an :class:`EncodedImage`."""
    return img.size if isinstance(img, EncodedImage) else img.shape[1::-1]
