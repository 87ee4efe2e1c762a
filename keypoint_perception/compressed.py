"""Compressed images, JPEG and PNG, as ``sensor_msgs/CompressedImage`` carries them."""

from __future__ import annotations

import struct

import cv2
from keypoint_perception.encodings import (
    Buffers,
    check_sides,
    EncodedImage,
    high_byte,
    MOST_QUOTED,
    PACKED,
)
from keypoint_perception.errors import EncodingError
import numpy as np

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
JPEG_SIGNATURE = b'\xff\xd8'
# Markers of a JPEG (ITU-T T.81, table B.1): those of its frame, which hold its size.
MARKER = 0xFF
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Every block of 8 x 8 pixels takes at least a bit.
MOST_PIXELS_PER_BYTE = 8 * 64


def open_compressed(data, format: str = '') -> EncodedImage:  # noqa: A002 (the message's name)
    """
    Return the picture of a ``sensor_msgs/CompressedImage`` (JPEG, PNG), unpacked.

    16-bit pictures follow the rules of ``16UC1`` where the format says so, else of ``mono16``.

    :param data: the file's bytes, anything with a buffer
    :param format: the message's format, as ``'rgb8; jpeg compressed bgr8'`` or ``'png'``
    :raises EncodingError: if the bytes are no picture that OpenCV reads
    """
    encoding = format.split(';')[0].strip()
    content = np.frombuffer(data, np.uint8)
    if 'compressedDepth' in format:
        content = _depth_png(content, format)
    return _open_picture(decode(content, format, cv2.IMREAD_UNCHANGED), encoding)


def decode(content: np.ndarray, image_format: str, flags: int) -> np.ndarray:
    """
    Return the picture of a JPEG or PNG file as OpenCV has it.

    :param content: the file's bytes, (n,) uint8
    :param image_format: the message's format, for what is said
    :param flags: of ``cv2.imdecode``
    :raises EncodingError: if the bytes are no picture that OpenCV reads
    """
    quoted = image_format[:MOST_QUOTED]
    _check_jpeg(content)
    try:
        picture = cv2.imdecode(content, flags) if content.size else None
    except cv2.error as error:
        msg = f'A compressed image ({quoted!r}) is broken ({error.err}); expected JPEG or PNG.'
        raise EncodingError(msg) from error
    if picture is None:
        msg = (
            f'A compressed image of {content.size} bytes ({quoted!r}) is broken or of an unknown '
            'kind; expected JPEG or PNG.'
        )
        raise EncodingError(msg)
    return picture


def _check_jpeg(content: np.ndarray) -> None:
    """
    Refuse a JPEG that is far too short for the size it claims.

    A few wrong bits make it gigantic, and libjpeg fills what is missing with grey: minutes of
    work and gigabytes of memory.
    """
    height, width = jpeg_hw(content)
    if height * width > MOST_PIXELS_PER_BYTE * content.size:
        msg = (
            f'A compressed image of {content.size} bytes claims to have {width}x{height} pixels, '
            'which so few bytes cannot hold; the message is broken, check the publisher.'
        )
        raise EncodingError(msg)


def jpeg_hw(content: np.ndarray) -> tuple[int, int]:
    """Return height and width that a JPEG's frame header claims; (0, 0) if none is found."""
    at = len(JPEG_SIGNATURE)
    if content[:at].tobytes() != JPEG_SIGNATURE:
        return 0, 0
    while at + 9 <= content.size and content[at] == MARKER:
        kind = int(content[at + 1])
        if kind in FRAME_HEADERS:
            return struct.unpack('>HH', content[at + 5 : at + 9].tobytes())
        at += 2 + struct.unpack('>H', content[at + 2 : at + 4].tobytes())[0]
    return 0, 0


def _depth_png(content: np.ndarray, image_format: str) -> np.ndarray:
    # compressed_depth_image_transport puts twelve bytes of its own before the PNG
    if not image_format.startswith('16UC1') or content[12:20].tobytes() != PNG_SIGNATURE:
        msg = (
            f'A depth image is compressed as {image_format[:MOST_QUOTED]!r}; expected 16UC1 with '
            'PNG; record the raw or the compressed topic instead.'
        )
        raise EncodingError(msg)
    return content[12:]


def _open_picture(picture: np.ndarray, encoding: str) -> EncodedImage:
    deep = picture.dtype == np.uint16
    if picture.dtype != np.uint8 and not deep:
        msg = f'A compressed image has {picture.dtype} pixels; expected 8 or 16 bits a channel.'
        raise EncodingError(msg)
    if picture.ndim == 2:
        if encoding.startswith('bayer_') and encoding in PACKED:
            encoding = encoding.rstrip('0123456789') + ('16' if deep else '8')
        elif not (deep and encoding == '16UC1'):
            encoding = 'mono16' if deep else 'mono8'
        check_sides(encoding, *picture.shape)
        return EncodedImage(PACKED[encoding], (picture,))
    if deep:
        flat = high_byte(picture.reshape(picture.shape[0], -1), Buffers())
        picture = flat.reshape(picture.shape)
    return EncodedImage(PACKED['bgra8' if picture.shape[2] == 4 else 'bgr8'], (picture,))
