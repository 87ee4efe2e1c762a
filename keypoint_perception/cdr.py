"""
ROS messages read from their serialised bytes.

Neither ROS nor type definitions are needed, so that bags of any age can be read. Image data is
never copied: rclpy deserialises an image in three copies while it holds the GIL, whereas a raw
subscription passes on the received bytes and the records below refer to them. Bytes behind the
last field are ignored; librealsense's ROS 1 bags have some. A message that is truncated or not in
CDR raises :class:`EncodingError`.

ROS 2 serialises with CDR (OMG DDSI-RTPS 10.2): four bytes of encapsulation, numbers aligned to
their size, strings and sequences preceded by their length. ROS 1 has no encapsulation and no
alignment, is always little-endian, and its headers start with a sequence number.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from keypoint_perception.errors import EncodingError

Buffer = bytes | bytearray | memoryview

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE_TYPE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO_TYPE = 'sensor_msgs/msg/CameraInfo'
IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)

# Byte order and largest alignment by representation: CDR and plain CDR2, big- and little-endian.
REPRESENTATIONS = {0x0000: ('>', 8), 0x0001: ('<', 8), 0x0006: ('>', 4), 0x0007: ('<', 4)}
ENCAPSULATION_BYTES = 4


class MessageHeader(NamedTuple):
    """The fields of ``std_msgs/Header``."""

    sec: int
    nanosec: int
    frame_id: str

    @property
    def stamp_ns(self) -> int:
        """Return the stamp in nanoseconds."""
        return self.sec * 1_000_000_000 + self.nanosec


class ImageMessage(NamedTuple):
    """The fields of ``sensor_msgs/Image``; ``data`` refers to the serialised bytes."""

    header: MessageHeader
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


class CompressedImageMessage(NamedTuple):
    """The fields of ``sensor_msgs/CompressedImage``; ``data`` refers to the serialised bytes."""

    header: MessageHeader
    format: str
    data: memoryview


class RegionOfInterest(NamedTuple):
    """The fields of ``sensor_msgs/RegionOfInterest``."""

    x_offset: int
    y_offset: int
    height: int
    width: int
    do_rectify: bool


class CameraInfoMessage(NamedTuple):
    """The fields of ``sensor_msgs/CameraInfo``; matrices are given row by row."""

    header: MessageHeader
    height: int
    width: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    binning_x: int
    binning_y: int
    roi: RegionOfInterest


def read_image(serialised: Buffer, *, ros1: bool = False) -> ImageMessage:
    """Return a serialised ``sensor_msgs/Image``."""
    reader = FieldReader(serialised, IMAGE_TYPE, ros1=ros1)
    header, height, width = reader.header(), reader.uint32(), reader.uint32()
    encoding, is_bigendian, step = reader.string(), reader.uint8(), reader.uint32()
    return ImageMessage(header, height, width, encoding, is_bigendian, step, reader.octets())


def read_compressed_image(serialised: Buffer, *, ros1: bool = False) -> CompressedImageMessage:
    """Return a serialised ``sensor_msgs/CompressedImage``."""
    reader = FieldReader(serialised, COMPRESSED_IMAGE_TYPE, ros1=ros1)
    return CompressedImageMessage(reader.header(), reader.string(), reader.octets())


def read_camera_info(serialised: Buffer, *, ros1: bool = False) -> CameraInfoMessage:
    """Return a serialised ``sensor_msgs/CameraInfo``."""
    reader = FieldReader(serialised, CAMERA_INFO_TYPE, ros1=ros1)
    header, height, width = reader.header(), reader.uint32(), reader.uint32()
    distortion_model, d = reader.string(), reader.float64(reader.uint32())
    k, r, p = reader.float64(9), reader.float64(9), reader.float64(12)
    binning_x, binning_y = reader.uint32(), reader.uint32()
    window = (reader.uint32(), reader.uint32(), reader.uint32(), reader.uint32())
    roi = RegionOfInterest(*window, do_rectify=bool(reader.uint8()))
    matrices, binning = (d, k, r, p), (binning_x, binning_y)
    return CameraInfoMessage(header, height, width, distortion_model, *matrices, *binning, roi)


def read_stamp_ns(serialised: Buffer, *, ros1: bool = False) -> int:
    """Return the stamp of a serialised message that starts with a header, ns."""
    return FieldReader(serialised, 'ROS', ros1=ros1).header().stamp_ns


class FieldReader:
    """
    Reads the fields of a message in order, and never beyond its end.

    :param kind: the message's type, for messages
    :raises EncodingError: if the message is not in CDR; so does every method at its end
    """

    def __init__(self, serialised: Buffer, kind: str, *, ros1: bool) -> None:
        self._bytes = memoryview(serialised)
        self._kind = kind
        self._ros1 = ros1
        self._order, self._largest = '<', 1
        self._start = self._at = 0
        if not ros1:
            (identifier,) = struct.unpack_from('>H', self._bytes, self._advance(2))
            if identifier not in REPRESENTATIONS:
                known = ', '.join(map(str, REPRESENTATIONS))
                msg = (
                    f'A {kind} message has the representation {identifier}, expected plain CDR '
                    f'({known}); use another RMW implementation in its publisher.'
                )
                raise EncodingError(msg)
            self._order, self._largest = REPRESENTATIONS[identifier]
            self._advance(2)  # options, which have no meaning here
            self._start = ENCAPSULATION_BYTES  # what alignment is relative to

    def uint8(self) -> int:
        return self._bytes[self._advance(1)]

    def uint32(self) -> int:
        return self._number('I')

    def float64(self, count: int) -> tuple[float, ...]:
        if count == 0:
            return ()
        self._at += (self._start - self._at) % self._largest
        at = self._advance(8 * count)
        return struct.unpack_from(f'{self._order}{count}d', self._bytes, at)

    def string(self) -> str:
        octets = bytes(self.octets()).rstrip(b'\0')
        try:
            return octets.decode()
        except UnicodeDecodeError as error:
            msg = (
                f'A {self._kind} message has a string of {len(octets)} bytes that is not UTF-8; '
                'check its publisher.'
            )
            raise EncodingError(msg) from error

    def octets(self) -> memoryview:
        count = self.uint32()
        at = self._advance(count)
        return self._bytes[at : at + count]

    def header(self) -> MessageHeader:
        if self._ros1:
            self.uint32()  # sequence number
        sec = self._number('I' if self._ros1 else 'i')
        return MessageHeader(sec, self.uint32(), self.string())

    def _number(self, code: str) -> int:
        """Read a number of four bytes."""
        if not self._ros1:
            self._at += -self._at % 4
        number: int = struct.unpack_from(self._order + code, self._bytes, self._advance(4))[0]
        return number

    def _advance(self, count: int) -> int:
        """Pass a number of bytes and return where they start."""
        start, self._at = self._at, self._at + count
        if self._at > len(self._bytes):
            msg = (
                f'A {self._kind} message is truncated: it has {len(self._bytes)} bytes, expected '
                f'at least {self._at}; check its publisher.'
            )
            raise EncodingError(msg)
        return start
