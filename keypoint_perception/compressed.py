"""The JPEG and PNG images of ``sensor_msgs/CompressedImage``."""

from __future__ import annotations

import struct

import cv2
from keypoint_perception.encodings import (
    Buffers,
    check_sides,
    EncodedImage,
    high_byte,
    MOST_QUOTED,
    Octets,
    PACKED,
)
from keypoint_perception.errors import EncodingError
import numpy as np

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
JPEG_SIGNATURE = b'\xff\xd8'
# JPEG markers (ITU-T T.81, table B.1); frame headers contain the size.
MARKER = 0xFF
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A block of 8 x 8 pixels takes at least one bit.
MOST_PIXELS_PER_BYTE = 8 * 64


def open_compressed(data: Octets, format: str = '') -> EncodedImage:  # noqa: A002 (the message's name)
    """
    Return the decompressed image of a ``sensor_msgs/CompressedImage``.

    16-bit images are converted as ``16UC1`` if the format says so, else as ``mono16``.

    :param data: the bytes of the JPEG or PNG file
    :param format: the message's format, as ``'rgb8; jpeg compressed bgr8'`` or ``'png'``
    :raises EncodingError: if OpenCV cannot read the image
    """
    encoding = format.split(';')[0].strip()
    content = np.frombuffer(data, np.uint8)
    if 'compressedDepth' in format:
        # compressed_depth_image_transport puts twelve bytes of its own before the PNG
        content = content[12:]
        if not format.startswith('16UC1') or content[:8].tobytes() != PNG_SIGNATURE:
            msg = (
                f'A depth image is compressed as {format[:MOST_QUOTED]!r}; expected 16UC1 as PNG; '
                'use the raw or the compressed topic instead.'
            )
            raise EncodingError(msg)
    return _open_decoded(decode(content, format, cv2.IMREAD_UNCHANGED), encoding)


def decode(content: np.ndarray, image_format: str, flags: int) -> np.ndarray:
    """
    Return the image of a JPEG or PNG file as OpenCV decodes it.

    :param content: the bytes of the file, (n,) uint8
    :param image_format: the message's format, for errors
    :param flags: of ``cv2.imdecode``
    :raises EncodingError: if OpenCV cannot read the image
    """
    quoted = image_format[:MOST_QUOTED]
    height, width = jpeg_hw(content)
    # A few wrong bits can make that size huge; libjpeg fills the missing part with grey, which
    # takes minutes and gigabytes of memory.
    if height * width > MOST_PIXELS_PER_BYTE * content.size:
        msg = (
            f'A compressed image of {content.size} bytes claims to have {width}x{height} pixels, '
            'which do not fit into so few bytes; the message is broken, check its publisher.'
        )
        raise EncodingError(msg)
    try:
        image = cv2.imdecode(content, flags) if content.size else None
    except cv2.error as error:
        msg = f'A compressed image ({quoted!r}) is broken ({error.err}); expected JPEG or PNG.'
        raise EncodingError(msg) from error
    if image is None:
        msg = (
            f'A compressed image of {content.size} bytes ({quoted!r}) is broken or has an unknown '
            'format; expected JPEG or PNG.'
        )
        raise EncodingError(msg)
    return image


def jpeg_hw(content: np.ndarray) -> tuple[int, int]:
    """Return height and width in the frame header of a JPEG, (0, 0) if there is none."""
    at = len(JPEG_SIGNATURE)
    if content[:at].tobytes() != JPEG_SIGNATURE:
        return 0, 0
    while at + 9 <= content.size and content[at] == MARKER:
        kind = int(content[at + 1])
        if kind in FRAME_HEADERS:
            height, width = struct.unpack('>HH', content[at + 5 : at + 9].tobytes())
            return height, width
        at += 2 + struct.unpack('>H', content[at + 2 : at + 4].tobytes())[0]
    return 0, 0


def _open_decoded(image: np.ndarray, encoding: str) -> EncodedImage:
    deep = image.dtype == np.uint16
    if image.dtype != np.uint8 and not deep:
        msg = f'A compressed image has {image.dtype} pixels; expected 8 or 16 bits a channel.'
        raise EncodingError(msg)
    if image.ndim == 2:
        if encoding.startswith('bayer_') and encoding in PACKED:
            encoding = encoding.rstrip('0123456789') + ('16' if deep else '8')
        elif not (deep and encoding == '16UC1'):
            encoding = 'mono16' if deep else 'mono8'
        check_sides(encoding, *image.shape)
        return EncodedImage(PACKED[encoding], (image,))
    if deep:
        flat = high_byte(image.reshape(image.shape[0], -1), Buffers())
        image = flat.reshape(image.shape)
    return EncodedImage(PACKED['bgra8' if image.shape[2] == 4 else 'bgr8'], (image,))
