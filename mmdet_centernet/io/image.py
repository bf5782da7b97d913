"""Decoding of image files, and detection of truncated ones (numpy and OpenCV only)."""
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError

JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
JPEG_SCAN = 0xda
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'
# Factors by which OpenCV can shrink a JPEG file while decoding it, and the flag for each.
REDUCTIONS = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2,
              4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def is_truncated(data: bytes) -> bool:
    """Return whether a JPEG or PNG file stops before its end marker.

    OpenCV decodes the rows that such a file has and fills the rest with gray. Bytes after
    the end marker are harmless. Other formats are not checked.

    Args:
        data (bytes): the whole file.
    """
    if data.startswith(PNG_START):
        return data.rfind(PNG_END) < 0
    if not data.startswith(JPEG_START):
        return False
    # Skip the header's segments, which may hold a thumbnail with an end marker of its own.
    position = len(JPEG_START)
    while position + 4 <= len(data) and data[position] == 0xff:
        marker = data[position + 1]
        if marker == 0xff:  # padding
            position += 1
            continue
        if marker == JPEG_SCAN:
            # Search from the end, because that is where most files have it.
            return data.rfind(JPEG_END, position) < 0
        position += 2 + int.from_bytes(data[position + 2:position + 4], 'big')
    return True


def decode_image(data: bytes, name: str, reduction: int = 1) -> NDArray[np.uint8]:
    """Decode an image file as BGR.

    Grayscale and palette images become three channels, 16-bit images are scaled to 8 bits (the
    low byte is dropped), an alpha channel is dropped, and the EXIF orientation is applied.

    Args:
        data (bytes): the whole file.
        name (str): name of the file in error messages.
        reduction (int): one of ``REDUCTIONS``. The sides are divided by it and rounded up, which
            saves most of the time for JPEG files.

    Returns:
        ndarray[H, W, 3]: uint8.

    Raises:
        UserError: if the file is not an image, or is truncated.
    """
    if is_truncated(data):
        raise UserError(
            f'image {name} is truncated: its last part is missing after {len(data)} '
            'bytes. Copy it again, or leave it out.')
    try:
        img: Any = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCTIONS[reduction])
    except cv2.error:
        img = None
    if img is None:
        raise UserError(
            f'image {name} ({len(data)} bytes) is not an image that OpenCV can read. '
            'Replace it, or leave it out.')
    decoded: NDArray[np.uint8] = img
    return decoded
