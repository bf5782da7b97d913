"""What detectors are given, looked at before anything runs: images, cameras, where to write.

No torch here: exported models run without it.
"""
import os
import urllib.request
from numbers import Integral, Real
from pathlib import Path

import cv2
import numpy as np

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.image import decode_image
from mmdet_centernet.io.kitti import read_calib

#: Endings of the files that are taken for a folder's images.
IMAGE_ENDINGS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')

_SECONDS = 60  # that a server may take for an image


def describe(value):
    """A value's kind, for errors."""
    return 'None' if value is None else f'a {type(value).__name__}'


def is_local(path):
    """Whether ``path`` names a file of this machine, not ``scheme://...``."""
    return '://' not in str(path)


def check_batch_size(batch_size):
    """Raise UserError unless it is a whole number of at least 1."""
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise UserError(f'batch_size={batch_size} must be a whole number of at least 1')


def images_of(inputs):
    """Paths and BGR arrays [H, W, 3] of uint8, all looked at.

    Args:
        inputs (str | Path | ndarray | list | tuple): A file, an address, a folder (its images
            by name, subfolders left out), an array, or several files and arrays.

    Returns:
        list[str | ndarray]

    Raises:
        UserError: If one is none of these, or is not there.
    """
    if isinstance(inputs, (list, tuple)):
        if not inputs:
            raise UserError('inputs is an empty list: give at least one image')
        return [checked_image(item, f'inputs[{i}]') for i, item in enumerate(inputs)]
    if isinstance(inputs, (str, os.PathLike)) and os.path.isdir(inputs):
        files = sorted(entry.path for entry in os.scandir(inputs)
                       if entry.name.lower().endswith(IMAGE_ENDINGS) and entry.is_file())
        if not files:
            raise UserError(f'folder {os.fspath(inputs)} holds no image '
                            f'({", ".join(IMAGE_ENDINGS)})')
        return files
    return [checked_image(inputs, 'inputs')]


def checked_image(item, name):
    """A path as text, or an array as uint8 [H, W, 3], contiguous.

    Args:
        item (str | Path | ndarray): A file or address; an array [H, W, 3] in BGR, [H, W] in
            grey or [H, W, 4] with alpha, which is dropped.
        name (str): Of an array in errors.

    Returns:
        str | ndarray

    Raises:
        UserError: If it is none of these, or the file is not there.
    """
    if isinstance(item, (str, os.PathLike)):
        path = os.fspath(item)
        if is_local(path) and os.path.isdir(path):
            raise UserError(f'{name} is the folder {path}: a list takes images; give the folder '
                            'by itself')
        if is_local(path) and not os.path.isfile(path):
            raise UserError(f'image {path} does not exist')
        return path
    if not isinstance(item, np.ndarray):
        raise UserError(f'{name} is {describe(item)}: give the path of an image or a numpy '
                        'array of uint8 [height, width, 3] in BGR')
    if item.dtype != np.uint8:
        raise UserError(f'{name} is an array of {item.dtype}: give uint8 with values of 0 to 255')
    if item.ndim == 2:
        item = item[..., None]
    if item.ndim != 3 or item.shape[2] not in (1, 3, 4) or not item.size:
        raise UserError(f'{name} is an array of shape {item.shape}: give one image as [height, '
                        'width, 3] in BGR, or [height, width] in grey')
    if item.shape[2] == 1:
        return cv2.cvtColor(np.ascontiguousarray(item), cv2.COLOR_GRAY2BGR)
    return np.ascontiguousarray(item[..., :3])


def read_image(item):
    """The pixels of one of :func:`images_of`.

    Args:
        item (str | ndarray): A path, an http(s) address, or the pixels.

    Returns:
        ndarray[H, W, 3]: uint8, BGR.

    Raises:
        UserError: If the file cannot be read or is no whole image.
    """
    if isinstance(item, np.ndarray):
        return item
    try:
        if is_local(item):
            data = Path(item).read_bytes()
        elif item.startswith(('http://', 'https://')):
            with urllib.request.urlopen(item, timeout=_SECONDS) as answer:
                data = answer.read()
        else:
            raise UserError(f'image {item} is neither a file nor an http(s) address: fetch it by '
                            'other means and give the path of the file')
    except OSError as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'image {item} cannot be read: {reason}') from None
    return decode_image(data, item)


def cameras_of(cam2img, inputs):
    """The camera of each input.

    Args:
        cam2img (ndarray | str | Path | list): The camera of all inputs, [3, 4] from its frame
            to pixels of the images as they are given (or [3, 3], which has no offset); or a
            KITTI calib file, whose P2 is taken; or a folder with a calib file for each image,
            ``000123.txt`` for ``000123.png``; or a list with a matrix or file for each input.
        inputs (list[str | ndarray]): Of :func:`images_of`.

    Returns:
        list[ndarray[3, 4]]: float64.

    Raises:
        UserError: If they are not as many, or one is no projection into pixels.
    """
    if isinstance(cam2img, (str, os.PathLike)) and os.path.isdir(cam2img):
        cam2img = _calib_files(cam2img, inputs)
    if isinstance(cam2img, (list, tuple)) and not _is_matrix(cam2img):
        if len(cam2img) != len(inputs):
            raise UserError(f'cam2img is a list of {len(cam2img)} for {len(inputs)} '
                            'input(s): give one for each, or a single one for all')
        return [checked_camera(each, f'cam2img[{i}]') for i, each in enumerate(cam2img)]
    return [checked_camera(cam2img, 'cam2img')] * len(inputs)


def _calib_files(folder, inputs):
    """The calib file of each input in a folder.

    Raises:
        UserError: If an input is an array, which has no name.
    """
    for index, item in enumerate(inputs):
        if not isinstance(item, str):
            raise UserError(
                f'cam2img is the folder {os.fspath(folder)}, but inputs[{index}] is an array, '
                'which no file in it is named after: give its matrix or calib file')
    return [os.path.join(folder, f'{Path(item).stem}.txt') for item in inputs]


def _is_matrix(values):
    """Whether a list is a matrix of numbers rather than several cameras."""
    return len(values) > 0 and all(isinstance(row, (list, tuple)) for row in values) and all(
        isinstance(value, Real) for row in values for value in row)


def checked_camera(camera, name):
    """A matrix, or that of a calib file.

    Args:
        camera (ndarray | list | str | Path): One camera.
        name (str): Of a matrix in errors.

    Returns:
        ndarray[3, 4]: float64.

    Raises:
        UserError: If it is no projection into pixels.
    """
    if isinstance(camera, (str, os.PathLike)):
        return read_calib(camera)
    try:
        matrix = np.asarray(camera, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f'{name} is {describe(camera)} that holds no matrix: give 3 x 4 numbers '
                        'or the path of a KITTI calib file') from None
    if matrix.shape not in ((3, 3), (3, 4)):
        raise UserError(f'{name} has the shape {matrix.shape}: a camera is 3 x 4, or 3 x 3 '
                        'without an offset')
    if not np.isfinite(matrix).all():
        raise UserError(f'{name} has entries that are no finite numbers: '
                        f'{matrix.round(3).tolist()}')
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise UserError(f'{name} has the focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g} px '
                        '(its entries [0, 0] and [1, 1]): both must be positive')
    if not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], (0, 0, 0, 1), rtol=0, atol=1e-6):
        raise UserError(f'{name} has {matrix[1, 0]:g} at [1, 0] and {matrix[2, :3].tolist()} as '
                        'its last row, where a camera of an upright image has 0 and [0, 0, 1]: '
                        'divide it by its entry [2, 2], or rectify the images')
    return matrix if matrix.shape[1] == 4 else np.hstack((matrix, np.zeros((3, 1))))


def check_output(inputs, out_dir, pictures_only):
    """Raise UserError if two inputs would be written to one file, or there is no folder."""
    if os.path.exists(out_dir) and not os.path.isdir(out_dir):
        raise UserError(f'out_dir {out_dir} is a file: name a folder')
    taken = {}
    for path in filter(lambda item: isinstance(item, str), inputs):
        name = Path(path).name if pictures_only else Path(path).stem
        if taken.setdefault(name, path) != path:
            raise UserError(f'{taken[name]} and {path} would be written to the same file in '
                            f'{out_dir}: give them in two calls with an out_dir each')
