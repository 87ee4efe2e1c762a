"""Images in files and in ``sensor_msgs/CompressedImage``."""

from __future__ import annotations

from collections.abc import Sequence
import logging
import struct

import cv2
from keypoint_perception.encodings import (
    check_sides,
    EncodedImage,
    MOST_QUOTED,
    Octets,
    PACKED,
)
from keypoint_perception.errors import EncodingError
from keypoint_perception.image_headers import (
    either,
    PNG_SIGNATURE,
    read_image_header,
    refuse_broken,
    TRANSPORTED,
)
from keypoint_perception.seen_messages import SeenMessages
import numpy as np

END_OF_IMAGE = b'\xff\xd9'
# Bits in place of those that a cut JPEG lacks; what is decoded of them is not in the picture.
NO_PIXELS = b'\x55' * 64
DEPTH_HEADER = struct.Struct('<Iff')  # format, and two parameters of quantised 32FC1

log = logging.getLogger('keypoint_perception')
_notices = SeenMessages()


def open_compressed(
    data: Octets,
    format: str = '',  # noqa: A002 (the message's name)
    formats: Sequence[str] = TRANSPORTED,
) -> EncodedImage:
    """
    Return the decompressed image of a ``sensor_msgs/CompressedImage`` or a file.

    Images are turned upright as their EXIF data says. 16-bit images are converted as ``16UC1`` if
    the format says so, else as ``mono16``.

    :param data: the bytes of the file
    :param format: the message's format, as ``'rgb8; jpeg compressed bgr8'`` or ``'png'``
    :param formats: of files that are accepted
    :raises EncodingError: if the image is broken, too large or in another format
    """
    encoding = format.split(';')[0].strip()
    content = np.frombuffer(data, np.uint8).data
    if 'compressedDepth' in format:
        return _open_depth(content, encoding, format)
    return _open_decoded(decode(content, cv2.IMREAD_UNCHANGED, formats), encoding)


def decode(content: memoryview, flags: int, formats: Sequence[str] = TRANSPORTED) -> np.ndarray:
    """
    Return the image of a file as OpenCV decodes it, upright.

    :param flags: of ``cv2.imdecode``
    :param formats: those that are accepted
    :raises EncodingError: if the image is broken, too large or in another format
    """
    header = read_image_header(content, formats)
    if header.scan_at and bytes(content).rfind(END_OF_IMAGE, header.scan_at) < 0:
        image: np.ndarray | None = _decode_without_end(content, flags)
    else:
        image = _imdecode(header.plain or content, flags)
    if image is None:
        msg = (
            f'A compressed image of {len(content)} bytes is broken; expected {either(formats)}; '
            'check where it is from.'
        )
        raise EncodingError(msg)
    return _upright(image, header.orientation)


def _imdecode(content: bytes | memoryview, flags: int) -> np.ndarray | None:
    try:
        flags |= cv2.IMREAD_IGNORE_ORIENTATION
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.STS_NO_MEM:
            raise
        return None


def _decode_without_end(content: memoryview, flags: int) -> np.ndarray:
    """Decode a JPEG that lacks its end mark, which some OpenCV refuse and others cut short."""
    whole, other = (
        _imdecode(bytes(content).rstrip(b'\xff') + bits + END_OF_IMAGE, flags)
        for bits in (b'', NO_PIXELS)
    )
    if whole is None or other is None or not np.array_equal(whole, other):
        refuse_broken('JPEG', content, 'ends before its last pixel')
    return whole


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation > 4:
        image = image.swapaxes(0, 1)
    down, right = ((1, 1), (1, -1), (-1, -1), (-1, 1))[(orientation - 1) % 4]
    return np.ascontiguousarray(image[::down, ::right])


def _open_depth(content: memoryview, encoding: str, message_format: str) -> EncodedImage:
    """Open what compressed_depth_image_transport writes: a header of its own, then a PNG."""
    pixels = content[DEPTH_HEADER.size :]
    is_png = bytes(pixels[: len(PNG_SIGNATURE)]) == PNG_SIGNATURE
    image = decode(pixels, cv2.IMREAD_UNCHANGED, ('PNG',)) if is_png else np.empty(0)
    if encoding not in ('16UC1', '32FC1') or image.dtype != np.uint16 or image.ndim != 2:
        msg = (
            f'A depth image is compressed as {message_format[:MOST_QUOTED]!r}; expected 16UC1 or '
            '32FC1 as PNG; use the raw topic instead.'
        )
        raise EncodingError(msg)
    if encoding == '32FC1':  # quantised by its inverse
        _, scale, least = DEPTH_HEADER.unpack_from(content)
        with np.errstate(all='ignore'):
            image = np.where(image > 0, scale / (image - np.float32(least)), np.float32(0))
    return EncodedImage(PACKED[encoding], (image,))


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
    if image.shape[2] == 4 and np.ptp(image[::4, ::4, 3]) and _notices.is_new('alpha'):
        log.warning('The transparency of images is ignored: their colours are used as they are.')
    layout = PACKED['bgra8' if image.shape[2] == 4 else 'bgr8']
    return EncodedImage(layout.in_bytes(image.itemsize), (image,))
