"""Image files in memory: whole or cut short, and decoded (numpy and OpenCV only)."""
import cv2
import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError

JPEG_START, JPEG_END = b'\xff\xd8', b'\xff\xd9'
JPEG_SCAN = 0xda
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'
# By how much a JPEG file can be made smaller in decoding it, and OpenCV's word for it.
REDUCTIONS = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2,
              4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG file stops before its end mark.

    OpenCV decodes what there is of such a file, with grey rows for the rest. Bytes after
    the end mark are harmless. Other formats are not looked into.

    Args:
        data (bytes): the whole file.
    """
    if data.startswith(PNG_START):
        return data.rfind(PNG_END) < 0
    if not data.startswith(JPEG_START):
        return False
    # Past the header's segments, which may hold a thumbnail with an end mark of its own.
    position = len(JPEG_START)
    while position + 4 <= len(data) and data[position] == 0xff:
        marker = data[position + 1]
        if marker == 0xff:  # padding
            position += 1
            continue
        if marker == JPEG_SCAN:
            # From behind, where it is in most files.
            return data.rfind(JPEG_END, position) < 0
        position += 2 + int.from_bytes(data[position + 2:position + 4], 'big')
    return True


def decode_image(data: bytes, name: str, reduction: int = 1) -> NDArray[np.uint8]:
    """Decode an image file as BGR.

    Grey and palette images become three channels, 16-bit images are scaled to 8 bits (the
    low byte is dropped), an alpha channel is dropped, and the EXIF orientation is applied.

    Args:
        data (bytes): the whole file.
        name (str): the file's, for errors.
        reduction (int): one of ``REDUCTIONS``. The sides become that part of themselves,
            rounded up, which with JPEG saves most of the time.

    Returns:
        ndarray[H, W, 3]: uint8.

    Raises:
        UserError: if the file is no image, or truncated.
    """
    if is_truncated(data):
        raise UserError(
            f'image {name} is truncated: its last part is missing after {len(data)} '
            'bytes; copy it again, or leave it out')
    try:
        img = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCTIONS[reduction])
    except cv2.error:
        img = None
    if img is None:
        raise UserError(
            f'image {name} ({len(data)} bytes) is no image that OpenCV can read: replace '
            'it, or leave it out')
    return img
