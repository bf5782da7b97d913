"""Loading of images, with errors that name broken files."""
import logging
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.logging import print_log
from numpy.typing import NDArray

from mmdet_centernet.datasets.transforms.encoded_image import AnyImage, EncodedImage, size_of
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.image import JPEG_START, decode_image
from mmdet_centernet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Transform that reads an image file as BGR.

    Grayscale and palette images become three channels, 16-bit images are scaled to 8 bits (the
    low byte is dropped), an alpha channel is dropped, and the EXIF orientation is applied;
    all this like MMDetection. Unlike there, an image that is missing, broken or truncated
    raises an error that names it and is never skipped.

    An image whose size differs from its annotation is read with a warning, once in a process.
    Often the annotation tool did not apply the EXIF orientation, and the boxes are wrong; but
    VOC 2012 itself has such an entry.

    Reads ``img_path`` and, if present, ``height`` and ``width``; writes ``img``
    (ndarray[H, W, 3]), ``img_shape`` and ``ori_shape`` (H, W).

    With ``defer`` only the header of a JPEG file is read here. The transform that moves the image
    (CenterAffine, CenterAffine3D, CenterPad or CenterResize) knows the target size and decodes it
    at a half, a quarter or an eighth of its size if that is enough; all coordinates stay those of
    the whole image. Large photos are then read much faster and shrink without aliasing; images
    that are not shrunk to a half or less do not change. No earlier transform may use the image.

    Args:
        to_float32 (bool): float32 instead of uint8; the values stay in [0, 255].
        backend_args (dict | None): MMEngine's file backend, for files that are not local.
        defer (bool): leave the decoding of JPEG files to the transform that moves the image.

    Raises:
        UserError: if the file is missing, not an image, or truncated, or its back end fails;
            also if ``defer`` and ``to_float32`` are both set.
    """

    def __init__(
        self,
        to_float32: bool = False,
        backend_args: dict[str, Any] | None = None,
        defer: bool = False,
    ) -> None:
        if defer and to_float32:
            raise UserError(
                'LoadImage(defer=True) leaves images in uint8: leave out to_float32')
        self.to_float32 = to_float32
        self.backend_args = backend_args
        self.defer = defer
        self._warned = False

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the image of a sample."""
        path = results['img_path']
        data = self._read(path)
        img: AnyImage | None = None
        if self.defer and data.startswith(JPEG_START):
            img = self._defer(data, path)
        if img is None:
            pixels: NDArray[Any] = decode_image(data, path)
            img = pixels.astype(np.float32) if self.to_float32 else pixels
        width, height = size_of(img)
        shape = height, width
        self._check_size(results, shape)
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = shape
        return results

    def _read(self, path: str) -> bytes:
        """Return the bytes of an image file."""
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except UserError:
            raise
        except FileNotFoundError:
            raise UserError(
                f'image {path} does not exist: check data_root and data_prefix of the data '
                'set, and the file names in its annotation file') from None
        except OSError as error:
            raise UserError(f'image {path} cannot be read: {error.strerror or error}') from None
        except Exception as error:
            # Each back end has its own exception classes, which may not be importable here.
            raise UserError(
                f'image {path} cannot be read with backend_args={self.backend_args}: '
                f'{type(error).__name__}: {error}') from error
        if data is None:
            raise UserError(
                f'image {path} is not in what backend_args={self.backend_args} reads: its keys '
                'must be the paths that data_root, data_prefix and the file names make')
        return bytes(data)

    def _defer(self, data: bytes, path: str) -> EncodedImage | None:
        """Return the image for decoding later, or None if its header cannot be read."""
        try:
            return EncodedImage(data, path)
        except Exception:
            # OpenCV may still read what Pillow cannot, and reports an error if it does not.
            return None

    def _check_size(self, results: dict[str, Any], shape: tuple[int, int]) -> None:
        """Warn once of an image whose size differs from its annotation."""
        size = (results.get('height', shape[0]), results.get('width', shape[1]))
        if size == shape or self._warned:
            return
        self._warned = True
        rotated = ' (the EXIF orientation in the file was applied: was it to the boxes?)' \
            if size == shape[::-1] else ''
        print_log(
            f'{results["img_path"]} has height and width {shape}, but its annotation '
            f'says {size}{rotated}; its boxes may be wrong. Further images are not reported.',
            logger='current', level=logging.WARNING)

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(to_float32={self.to_float32}, '
                f'backend_args={self.backend_args}, defer={self.defer})')
