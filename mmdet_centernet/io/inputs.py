"""Validation of the inputs of detectors before anything runs: images, cameras, output folders.

This module does not import torch, because exported models run without it.
"""
import os
import urllib.request
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.image import decode_image
from mmdet_centernet.io.kitti import read_calib

#: Path of a file.
AnyPath: TypeAlias = str | os.PathLike[str]
#: A checked input: the path or address of an image, or its pixels.
Image: TypeAlias = str | NDArray[np.uint8]
Camera: TypeAlias = NDArray[np.float64]

#: Extensions of the files in a folder that are read as images.
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')

_TIMEOUT = 60  # for downloading an image, seconds


def describe(value: object) -> str:
    """Name the type of a value for error messages."""
    return 'None' if value is None else f'a {type(value).__name__}'


def is_local(path: object) -> bool:
    """Return whether ``path`` is a local file rather than ``scheme://...``."""
    return '://' not in str(path)


def _is_path(value: object) -> TypeGuard[AnyPath]:
    """Return whether a value is a path."""
    return isinstance(value, (str, os.PathLike))


def check_batch_size(batch_size: Any) -> None:
    """Raise UserError unless the batch size is a whole number of at least 1."""
    if not isinstance(batch_size, Integral) or batch_size < 1:
        raise UserError(f'batch_size={batch_size} must be a whole number of at least 1')


def images_of(inputs: Any) -> list[Image]:
    """Check inputs and return them as paths and BGR arrays [H, W, 3] of uint8.

    Args:
        inputs (str | Path | ndarray | list | tuple): A file, an http(s) address, a folder (its
            images sorted by name, without subfolders), an array, or several files and arrays.

    Returns:
        list[str | ndarray]

    Raises:
        UserError: If an input is not one of these, or does not exist.
    """
    if isinstance(inputs, (list, tuple)):
        if not inputs:
            raise UserError('inputs is an empty list: give at least one image')
        return [checked_image(item, f'inputs[{i}]') for i, item in enumerate(inputs)]
    if _is_path(inputs) and os.path.isdir(inputs):
        files = sorted(entry.path for entry in os.scandir(os.fspath(inputs))
                       if entry.name.lower().endswith(IMAGE_EXTENSIONS) and entry.is_file())
        if not files:
            raise UserError(f'folder {os.fspath(inputs)} holds no image '
                            f'({", ".join(IMAGE_EXTENSIONS)})')
        return list(files)
    return [checked_image(inputs, 'inputs')]


def checked_image(item: Any, name: str) -> Image:
    """Check one input and return a path as a string, an array as contiguous uint8 [H, W, 3].

    Args:
        item (str | Path | ndarray): A file or address; an array [H, W, 3] in BGR, [H, W]
            in grayscale or [H, W, 4] with alpha, which is dropped.
        name (str): Name of the input in error messages.

    Returns:
        str | ndarray

    Raises:
        UserError: If it is not one of these, or the file does not exist.
    """
    if isinstance(item, (str, os.PathLike)):
        path = os.fspath(item)
        if is_local(path) and os.path.isdir(path):
            raise UserError(f'{name} is the folder {path}, but a list takes images only: give '
                            'the folder by itself')
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
                        'width, 3] in BGR, or [height, width] in grayscale')
    if item.shape[2] == 1:
        item = cv2.cvtColor(np.ascontiguousarray(item), cv2.COLOR_GRAY2BGR)
    pixels: NDArray[np.uint8] = np.ascontiguousarray(item[..., :3])
    return pixels


def read_image(item: Image) -> NDArray[np.uint8]:
    """Read an image that :func:`images_of` returned.

    Args:
        item (str | ndarray): A path, an http(s) address, or the pixels.

    Returns:
        ndarray[H, W, 3]: uint8, BGR.

    Raises:
        UserError: If the file cannot be read, is not an image or is truncated.
    """
    if isinstance(item, np.ndarray):
        return item
    try:
        if is_local(item):
            data = Path(item).read_bytes()
        elif item.startswith(('http://', 'https://')):
            with urllib.request.urlopen(item, timeout=_TIMEOUT) as response:
                data = response.read()
        else:
            raise UserError(f'image {item} is neither a file nor an http(s) address: download '
                            'it and give the path of the file')
    except OSError as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(f'image {item} cannot be read: {reason}') from None
    return decode_image(data, item)


def cameras_of(cam2img: Any, inputs: Sequence[Image]) -> list[Camera]:
    """Return the camera matrix of each input.

    Args:
        cam2img (ndarray | str | Path | list): The camera of all inputs, [3, 4] from the camera
            frame to pixels of the original images (or [3, 3] without an offset); or a KITTI
            calib file, whose P2 is used; or a folder with a calib file for each image,
            ``000123.txt`` for ``000123.png``; or a list with a matrix or file for each input.
        inputs (list[str | ndarray]): The inputs that :func:`images_of` returned.

    Returns:
        list[ndarray[3, 4]]: float64.

    Raises:
        UserError: If the numbers of cameras and inputs differ, or a camera is not a projection
            into pixels.
    """
    if isinstance(cam2img, (str, os.PathLike)) and os.path.isdir(cam2img):
        cam2img = _calib_files(cam2img, inputs)
    if isinstance(cam2img, (list, tuple)) and not _is_matrix(cam2img):
        if len(cam2img) != len(inputs):
            raise UserError(f'cam2img is a list of {len(cam2img)} for {len(inputs)} '
                            'input(s): give one for each, or a single one for all')
        return [checked_camera(each, f'cam2img[{i}]') for i, each in enumerate(cam2img)]
    return [checked_camera(cam2img, 'cam2img')] * len(inputs)


def select_cameras(
    cam2img: Any, inputs: Sequence[Image], needed: bool, model: str
) -> list[Camera] | None:
    """Return the camera matrix of each input for a model that needs them, None for others.

    Args:
        cam2img (ndarray | str | Path | list | None): See :func:`cameras_of`.
        inputs (list[str | ndarray]): The inputs that :func:`images_of` returned.
        needed (bool): The model needs cameras.
        model (str): The model's name in errors.

    Raises:
        UserError: If cameras are missing, wrong or not needed.
    """
    if not needed:
        if cam2img is not None:
            raise UserError(f'cam2img is the camera that 3D boxes need, but {model} predicts '
                            'none: leave it out')
        return None
    if cam2img is None:
        raise UserError(
            f'{model} predicts 3D boxes, which requires the camera matrix: give cam2img, a 3 x 4 '
            'matrix, the path of a KITTI calib file, or a list with one for each input')
    return cameras_of(cam2img, inputs)


def _calib_files(folder: AnyPath, inputs: Sequence[Image]) -> list[str]:
    """Return the path of each input's calib file in a folder.

    Raises:
        UserError: If an input is an array, which has no name.
    """
    files = []
    for index, item in enumerate(inputs):
        if not isinstance(item, str):
            raise UserError(
                f'cam2img is the folder {os.fspath(folder)}, but inputs[{index}] is an array, '
                'which has no file name to look up there: give its matrix or calib file')
        files.append(os.path.join(folder, f'{Path(item).stem}.txt'))
    return files


def _is_matrix(values: Sequence[Any]) -> bool:
    """Return whether a list is a matrix of numbers rather than several cameras."""
    return len(values) > 0 and all(isinstance(row, (list, tuple)) for row in values) and all(
        isinstance(value, Real) for row in values for value in row)


def checked_camera(camera: Any, name: str) -> Camera:
    """Check a camera matrix, or read it from a calib file.

    Args:
        camera (ndarray | list | str | Path): One camera.
        name (str): Name of the matrix in error messages.

    Returns:
        ndarray[3, 4]: float64.

    Raises:
        UserError: If it is not a projection into pixels.
    """
    if isinstance(camera, (str, os.PathLike)):
        return read_calib(camera)
    try:
        matrix = np.asarray(camera, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f'{name} is {describe(camera)} that holds no matrix: give 3 x 4 '
                        'numbers or the path of a KITTI calib file') from None
    if matrix.shape not in ((3, 3), (3, 4)):
        raise UserError(f'{name} has the shape {matrix.shape}: a camera is 3 x 4, or 3 x 3 '
                        'without an offset')
    if not np.isfinite(matrix).all():
        raise UserError(f'{name} has entries that are not finite numbers: '
                        f'{matrix.round(3).tolist()}')
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise UserError(f'{name} has the focal lengths {matrix[0, 0]:g} and {matrix[1, 1]:g} px '
                        '(its entries [0, 0] and [1, 1]): both must be positive')
    if not np.allclose(matrix[[1, 2, 2, 2], [0, 0, 1, 2]], (0, 0, 0, 1), rtol=0, atol=1e-6):
        raise UserError(f'{name} has {matrix[1, 0]:g} at [1, 0] and {matrix[2, :3].tolist()} as '
                        'its last row, where a camera of an upright image has 0 and [0, 0, 1]: '
                        'divide it by its entry [2, 2], or rectify the images')
    return np.hstack((matrix, np.zeros((3, 1)))) if matrix.shape == (3, 3) else matrix


def check_output(inputs: Sequence[Image], out_dir: AnyPath, pictures_only: bool) -> None:
    """Check that ``out_dir`` is not a file and that no two inputs share an output file.

    Args:
        inputs (list[str | ndarray]): The inputs that :func:`images_of` returned.
        out_dir (str | Path): Folder of the results; it need not exist.
        pictures_only (bool): No predictions are written, which are named without the extension.

    Raises:
        UserError: If one of the two is violated.
    """
    if os.path.exists(out_dir) and not os.path.isdir(out_dir):
        raise UserError(f'out_dir {out_dir} is a file: name a folder')
    taken: dict[str, str] = {}
    for path in inputs:
        if not isinstance(path, str):
            continue
        name = Path(path).name if pictures_only else Path(path).stem
        if taken.setdefault(name, path) != path:
            raise UserError(f'{taken[name]} and {path} would be written to the same file in '
                            f'{out_dir}: give them in two calls, each with its own out_dir')
