"""
Images read from the wire without copying their pixels, and clouds written to it.

rclpy turns an image into a message by copying it three times while nothing else in the process
can run. A raw subscription hands over the serialised bytes instead (CDR, OMG DDSI-RTPS 10.2:
numbers aligned to their size, strings and sequences behind their length), and the pixels stay
where they are. In the other direction, a publisher takes serialised bytes as well as a message.
"""

from __future__ import annotations

from collections.abc import Sequence
import struct
from typing import NamedTuple

from keypoint_perception.errors import EncodingError

# Representation identifiers: plain CDR and plain CDR2, each big- and little-endian. For types
# whose largest number has four bytes the two are the same.
BYTE_ORDERS = {0x0000: '>', 0x0001: '<', 0x0006: '>', 0x0007: '<'}
ENCAPSULATION_BYTES = 4
LITTLE_ENDIAN = b'\0\1\0\0'
FLOAT32 = 7  # of sensor_msgs/PointField
FLOAT32_BYTES = 4


class ImageHeader(NamedTuple):
    """The fields of ``std_msgs/Header``."""

    sec: int
    nanosec: int
    frame_id: str

    @property
    def stamp_ns(self) -> int:
        """Return the stamp in nanoseconds."""
        return self.sec * 1_000_000_000 + self.nanosec


class ReceivedImage(NamedTuple):
    """The fields of ``sensor_msgs/Image``; ``data`` lies in the received bytes."""

    header: ImageHeader
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


class ReceivedCompressedImage(NamedTuple):
    """The fields of ``sensor_msgs/CompressedImage``; ``data`` lies in the received bytes."""

    header: ImageHeader
    format: str
    data: memoryview


def read_image(serialised: bytes) -> ReceivedImage:
    """
    Return the image that a raw subscription received.

    :raises EncodingError: if the bytes end early or are no CDR
    """
    reader = _Reader(serialised)
    header, height, width = reader.header(), reader.uint32(), reader.uint32()
    encoding, is_bigendian, step = reader.string(), reader.uint8(), reader.uint32()
    return ReceivedImage(header, height, width, encoding, is_bigendian, step, reader.octets())


def read_compressed_image(serialised: bytes) -> ReceivedCompressedImage:
    """
    Return the compressed image that a raw subscription received.

    :raises EncodingError: if the bytes end early or are no CDR
    """
    reader = _Reader(serialised)
    return ReceivedCompressedImage(reader.header(), reader.string(), reader.octets())


class _Reader:
    """Reads one field after another, and never past the end."""

    def __init__(self, serialised: bytes) -> None:
        self._bytes = memoryview(serialised)
        self._at = 0
        (identifier,) = struct.unpack('>H', self._take(2))
        if identifier not in BYTE_ORDERS:
            msg = (
                f'An image message starts with the representation {identifier}; expected plain '
                f'CDR, {", ".join(map(str, BYTE_ORDERS))}; use another RMW implementation in the '
                'publisher.'
            )
            raise EncodingError(msg)
        self._order = BYTE_ORDERS[identifier]
        self._take(2)  # options, without meaning here

    def _take(self, count: int) -> memoryview:
        taken = self._bytes[self._at : self._at + count]
        if len(taken) < count:
            msg = (
                f'An image message is cut short: it has {len(self._bytes)} bytes, expected at '
                f'least {self._at + count}; check the publisher.'
            )
            raise EncodingError(msg)
        self._at += count
        return taken

    def _number(self, code: str, size: int) -> int:
        self._take(-(self._at - ENCAPSULATION_BYTES) % size)
        return struct.unpack(self._order + code, self._take(size))[0]

    def uint8(self) -> int:
        return self._number('B', 1)

    def uint32(self) -> int:
        return self._number('I', 4)

    def string(self) -> str:
        octets = bytes(self._take(self.uint32()))
        try:
            return octets.removesuffix(b'\0').decode()
        except UnicodeDecodeError as error:
            msg = (
                f'An image message has a text of {len(octets)} bytes that is not UTF-8; check '
                'the publisher.'
            )
            raise EncodingError(msg) from error

    def octets(self) -> memoryview:
        return self._take(self.uint32())

    def header(self) -> ImageHeader:
        return ImageHeader(self._number('i', 4), self.uint32(), self.string())


def write_cloud(header: ImageHeader, layout: bytes, points: bytes) -> bytes:
    """
    Return a ``sensor_msgs/PointCloud2`` that is not dense, serialised.

    :param layout: from :func:`cloud_layout`
    :param points: little-endian FLOAT32, as many as the layout says
    """
    stamp = struct.pack('<iI', header.sec, header.nanosec)
    parts = (LITTLE_ENDIAN, stamp, _text(header.frame_id), layout, points, b'\0')
    return b''.join(parts)


def cloud_layout(names: Sequence[str], count: int) -> bytes:
    """
    Return what stands between the header and the points of a serialised cloud of height 1.

    Every number of it has four bytes, so that it is the same behind whatever header.

    :param names: of the fields, all FLOAT32, without gaps
    :param count: points
    """
    fields = b''.join(
        _text(name) + struct.pack('<IB3xI', FLOAT32_BYTES * place, FLOAT32, 1)
        for place, name in enumerate(names)
    )
    point_step = FLOAT32_BYTES * len(names)
    row_step = count * point_step
    big_endian = 0
    behind = struct.pack('<B3xIII', big_endian, point_step, row_step, row_step)
    return struct.pack('<III', 1, count, len(names)) + fields + behind


def _text(text: str) -> bytes:
    """Return a string behind its length, up to where the next number may stand."""
    octets = text.encode() + b'\0'
    return struct.pack('<I', len(octets)) + octets + b'\0' * (-len(octets) % 4)
