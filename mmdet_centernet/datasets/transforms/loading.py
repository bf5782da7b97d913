"""Read images, and say which one is broken."""
import logging

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.logging import print_log

from mmdet_centernet.errors import UserError
from mmdet_centernet.image_file import decode_image
from mmdet_centernet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read an image file as BGR.

    Grey and palette images become three channels, 16-bit images are scaled to 8 bits (the
    low byte is dropped), an alpha channel is dropped, and the EXIF orientation is applied;
    all this as in MMDetection's loading. Unlike there, an image that is missing, broken or
    cut short is an error that names it and is never skipped.

    An image of another size than its annotation says is read with a warning, once in a
    process: often it is an image with an EXIF orientation that the annotation tool did not
    apply, and its boxes are wrong; but VOC 2012 itself has such an entry.

    Reads ``img_path`` and, where there, ``height`` and ``width``; writes ``img``
    (ndarray[H, W, 3]), ``img_shape`` and ``ori_shape`` (H, W).

    Args:
        to_float32 (bool): float32 instead of uint8; the values stay in [0, 255].
        backend_args (dict | None): MMEngine's file backend, for files that are not local.

    Raises:
        UserError: if the file is missing, no image, or truncated.
    """

    def __init__(self, to_float32=False, backend_args=None):
        self.to_float32 = to_float32
        self.backend_args = backend_args
        self._warned = False

    def transform(self, results):
        path = results['img_path']
        try:
            data = fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError:
            raise UserError(
                f'image {path} does not exist: check data_root and data_prefix of the data '
                'set, and the file names in its annotation file') from None
        except OSError as error:
            raise UserError(f'image {path} cannot be read: {error.strerror or error}') from None
        img = decode_image(data, path)
        self._check_size(results, img)
        if self.to_float32:
            img = img.astype(np.float32)
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def _check_size(self, results, img):
        """Warn, once, of an image whose annotation says another size."""
        size = (results.get('height', img.shape[0]), results.get('width', img.shape[1]))
        if size == img.shape[:2] or self._warned:
            return
        self._warned = True
        turned = ' (the EXIF orientation in the file was applied: was it to the boxes?)' \
            if size == img.shape[1::-1] else ''
        print_log(
            f'{results["img_path"]} has height and width {img.shape[:2]}, but its annotation '
            f'says {size}{turned}; its boxes may be wrong. Further images are not reported.',
            logger='current', level=logging.WARNING)

    def __repr__(self):
        return (f'{type(self).__name__}(to_float32={self.to_float32}, '
                f'backend_args={self.backend_args})')
