"""KITTI's text files: labels, results, cameras and lists of images.

Frames and units are KITTI's: boxes in px of the image, (x1, y1, x2, y2); lengths in meters in the
camera frame, x to the right, y down, z forward; angles in radians. Row i of the objects is line
i + 1 of the file.
"""
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError

#: Path of a file.
AnyPath: TypeAlias = str | os.PathLike[str]

#: Type of a region with unlabeled objects; all its numbers but the box are -1, -10 or -1000.
CLASSLESS = 'DontCare'
#: Numbers of a line after the type, as the object development kit's readme lists them.
FIELDS = ('truncated', 'occluded', 'alpha', 'left', 'top', 'right', 'bottom', 'height', 'width',
          'length', 'x', 'y', 'z', 'rotation_y')
CAMERA_SHAPE = (3, 4)


class KittiObjects(NamedTuple):
    """Objects of one image, one row each.

    ``types`` (list[str]); ``truncated`` (float64 [N], fraction outside the image, 0 to 1, or -1);
    ``occluded`` (int64 [N]: 0 visible, 1 partly, 2 largely occluded, 3 unknown, or -1); ``alpha``
    (float64 [N], observation angle); ``bboxes`` (float64 [N, 4]); ``dims`` (float64 [N, 3],
    height, width, length); ``locations`` (float64 [N, 3], center of the bottom); ``rotation_y``
    (float64 [N]); ``scores`` (float64 [N], None for labels).
    """
    types: list[str]
    truncated: NDArray[np.float64]
    occluded: NDArray[np.int64]
    alpha: NDArray[np.float64]
    bboxes: NDArray[np.float64]
    dims: NDArray[np.float64]
    locations: NDArray[np.float64]
    rotation_y: NDArray[np.float64]
    scores: NDArray[np.float64] | None


def read_objects(path: AnyPath, scored: bool = False) -> KittiObjects:
    """Read a label or result file.

    Args:
        path (str | Path): the file; an empty file has no objects.
        scored (bool): read results, which have a score in each line, rather than labels.

    Returns:
        KittiObjects: angles as the file has them.

    Raises:
        UserError: naming file and line, if the file is missing, a line has too many or too few
            fields, or a field is not a finite number; for labels other than ``DontCare`` also if
            a dimension or the depth is not positive, or the box has no size.
    """
    names = FIELDS + ('score', ) * scored
    types: list[str] = []
    rows: list[list[float]] = []
    for number, line in enumerate(_read_lines(path, 'result' if scored else 'label'), start=1):
        fields = line.split()
        where = f'line {number} of {path}'
        if len(fields) != 1 + len(names):
            if len(fields) == 2 + len(names) and not scored:
                hint = '; a file of results, which has scores, cannot serve as labels'
            elif len(fields) == len(names) and scored:
                hint = '; the score at the end is missing'
            else:
                hint = ''
            raise UserError(
                f'{where} has {len(fields)} fields, but a {"result" if scored else "label"} in '
                f"KITTI's format has {1 + len(names)}: type, {', '.join(names)}{hint}")
        try:
            rows.append([float(field) for field in fields[1:]])
        except ValueError:
            name, text = next(item for item in zip(names, fields[1:]) if not _is_float(item[1]))
            raise UserError(f'{where} has the {name} {text!r}, which is not a number') from None
        types.append(fields[0])
    numbers = np.array(rows, np.float64).reshape(-1, len(names))
    _check(numbers, types, names, path, scored)
    return KittiObjects(
        types, numbers[:, 0], numbers[:, 1].astype(np.int64), numbers[:, 2], numbers[:, 3:7],
        numbers[:, 7:10], numbers[:, 10:13], numbers[:, 13], numbers[:, 14] if scored else None)


def _check(
    numbers: NDArray[np.float64],
    types: list[str],
    names: Sequence[str],
    path: AnyPath,
    scored: bool,
) -> None:
    """Raise UserError for the first invalid line."""
    faulty = ~np.isfinite(numbers)
    faulty[:, 1] |= numbers[:, 1] != np.round(numbers[:, 1])
    if faulty.any():
        row, column = np.argwhere(faulty)[0]
        raise UserError(
            f'line {row + 1} of {path} has the {names[column]} {numbers[row, column]:g}, which '
            f'must be a {"whole" if column == 1 else "finite"} number')
    if scored:
        return
    labeled = np.array([name != CLASSLESS for name in types], bool)
    flat = (numbers[:, 7:10] <= 0).any(axis=1) & labeled
    behind = (numbers[:, 12] <= 0) & labeled
    empty = ((numbers[:, 5:7] <= numbers[:, 3:5]).any(axis=1)) & labeled
    for rows, columns, words in (
            (flat, slice(7, 10), 'height, width and length {}, which must be positive'),
            (behind, slice(12, 13), 'the depth (z) {}, which must be positive: the object is not '
                                    'in front of the camera'),
            (empty, slice(3, 7), 'the 2D box {}, in which right must be more than left, and '
                                 'bottom than top')):
        if rows.any():
            row = np.flatnonzero(rows)[0]
            given = ', '.join(f'{value:g}' for value in numbers[row, columns])
            raise UserError(
                f'line {row + 1} of {path} ({types[row]}) has {words.format(given)}; fix the '
                f'line, or set its type to {CLASSLESS} to ignore the region')


def write_objects(path: AnyPath, objects: KittiObjects) -> None:
    """Write a label file, or with scores a result file in the format of KITTI's server.

    Numbers have four decimals (a tenth of a millimeter and of a milliradian), whereas result files
    of the original implementation have two. Scores have nine digits, which distinguish all float32
    values.

    Args:
        path (str | Path): the file; its folder must exist.
        objects (KittiObjects): ``truncated`` and ``occluded`` are written as they are (-1 where
            unknown).

    Raises:
        UserError: if a number is not finite, a result is a ``DontCare`` region, or the file cannot
            be written.
    """
    columns = np.column_stack((
        objects.truncated, objects.occluded, objects.alpha, objects.bboxes, objects.dims,
        objects.locations, objects.rotation_y)).reshape(len(objects.types), len(FIELDS))
    formats = ['g', 'g'] + ['.4f'] * 12
    if objects.scores is not None:
        columns = np.column_stack((columns, objects.scores))
        formats.append('.9g')
    lines = []
    for row, (name, values) in enumerate(zip(objects.types, columns.tolist(), strict=True)):
        if objects.scores is not None and name == CLASSLESS:
            raise UserError(
                f'objects[{row}] for the result file {path} is {CLASSLESS}, which is allowed '
                'in labels only: write results of classes')
        if not all(map(math.isfinite, values)):
            raise UserError(
                f'objects[{row}] ({name}) for {path} has a number that is not finite: {values}')
        lines.append(' '.join([name, *map(format, values, formats)]) + '\n')
    try:
        Path(path).write_text(''.join(lines), encoding='utf-8')
    except OSError as error:
        raise UserError(f'cannot write {path} ({error.strerror})') from None


def read_calib(path: AnyPath, key: str = 'P2') -> NDArray[np.float64]:
    """Read a camera from a KITTI calibration file.

    Args:
        path (str | Path): lines of ``<name>: <numbers>``.
        key (str): name of the camera; P2 is the left color camera, whose images are in image_2.

    Returns:
        ndarray[3, 4]: float64, camera frame to px.

    Raises:
        UserError: if the file or the line is missing, or is not a projection of rectified images:
            twelve finite numbers, positive focal lengths, and an upper triangular left part
            that ends in 1.
    """
    texts: dict[str, tuple[int, str]] = {}
    for number, line in enumerate(_read_lines(path, 'calib'), start=1):
        name, colon, text = line.partition(':')
        if colon:
            texts.setdefault(name.strip(), (number, text))
    if key not in texts:
        raise UserError(
            f"calib file {path} has no line {key!r}: it must be in KITTI's format, with the "
            f'camera\'s projection as "{key}: " and 12 numbers')
    number, text = texts[key]
    where = f'line {number} of {path}'
    values = [float(field) if _is_float(field) else math.nan for field in text.split()]
    if len(values) != math.prod(CAMERA_SHAPE) or not all(map(math.isfinite, values)):
        raise UserError(
            f'{where} does not hold the 12 finite numbers of the projection {key} (3 x 4, row '
            f'by row) but {text.strip()!r}')
    camera = np.array(values).reshape(CAMERA_SHAPE)
    if camera[0, 0] <= 0 or camera[1, 1] <= 0:
        raise UserError(
            f'{where} gives the focal lengths {camera[0, 0]:g} and {camera[1, 1]:g} px '
            f'(entries 1 and 6 of {key}): both must be positive')
    # Tolerate rounding in the file: 1e-6 moves no point by a hundredth of a pixel.
    if not np.allclose(camera[[1, 2, 2, 2], [0, 0, 1, 2]], (0, 0, 0, 1), rtol=0, atol=1e-6):
        raise UserError(
            f'{where} is not the projection of a rectified image: entries 5, 9, 10 and 11 of '
            f'{key} must be 0, 0, 0 and 1, not {camera[[1, 2, 2, 2], [0, 0, 1, 2]].tolist()}')
    return camera


def read_split(path: AnyPath) -> list[str]:
    """Read a list of images.

    Args:
        path (str | Path): one file name without extension per line.

    Returns:
        list[str]: the names as written, such as '000123'.

    Raises:
        UserError: if the file is missing or empty, a line has more than one name, or two lines
            have the same.
    """
    lines_of: dict[str, int] = {}
    for number, line in enumerate(_read_lines(path, 'split'), start=1):
        fields = line.split()
        if len(fields) > 1:
            raise UserError(
                f'line {number} of {path} is {line.strip()!r}: a split file has one image '
                "number, such as '000123', in each line")
        if fields:
            if fields[0] in lines_of:
                raise UserError(
                    f'lines {lines_of[fields[0]]} and {number} of {path} are both '
                    f'{fields[0]!r}: each image may be listed once')
            lines_of[fields[0]] = number
    if not lines_of:
        raise UserError(f'split file {path} lists no image at all')
    return list(lines_of)


def _read_lines(path: AnyPath, kind: str) -> list[str]:
    """Read the lines of a text file, without empty ones at the end."""
    try:
        text = Path(path).read_text(encoding='utf-8-sig').rstrip()
    except FileNotFoundError:
        raise UserError(f'{kind} file {path} does not exist') from None
    except OSError as error:
        raise UserError(f'{kind} file {path} cannot be read: {error.strerror}') from None
    except UnicodeDecodeError:
        raise UserError(f'{kind} file {path} is not text') from None
    return text.split('\n') if text else []


def _is_float(text: str) -> bool:
    """Return whether a text can be read as a number, NaN and infinity included."""
    try:
        float(text)
    except ValueError:
        return False
    return True
