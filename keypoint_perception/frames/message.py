"""
Image messages, from serialised bytes.

Read by hand rather than by a generated deserialiser: it needs no type definitions (old bags carry
none, or names without ``/msg/``), copies nothing, and tolerates surplus bytes behind the pixels,
which librealsense's ROS 1 bags have.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from keypoint_perception.errors import EncodingError
from keypoint_perception.images import decode_compressed, decode_image
import numpy as np

RAW_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = (RAW_TYPE, COMPRESSED_TYPE)


class Message(NamedTuple):
    """
    One message of a bag.

    :param msgtype: ROS 2 name of its type, as ``'sensor_msgs/msg/Image'``
    :param serialization: ``'cdr'`` or ``'ros1'``
    :param time_ns: when it was recorded, ns
    """

    topic: str
    msgtype: str
    serialization: str
    time_ns: int
    data: bytes


def normal_type(msgtype: str) -> str:
    """Return a type's ROS 2 name; ROS 1 and old bags leave ``/msg`` out."""
    package, _, name = msgtype.partition('/')
    return msgtype if '/' in name else f'{package}/msg/{name}'


class _Fields:
    """The fields of a serialised message, one after another."""

    def __init__(self, data: bytes, serialization: str) -> None:
        self.view = memoryview(data)
        self.is_ros1 = serialization == 'ros1'
        # CDR opens with four bytes, the second of which tells the byte order; alignment counts
        # from behind them, which is the same for fields of up to four bytes.
        self.order = '<' if self.is_ros1 or self.view[1] & 1 else '>'
        self.position = 0 if self.is_ros1 else 4

    def uint32(self) -> int:
        if not self.is_ros1:
            self.position += -self.position % 4
        (value,) = struct.unpack_from(f'{self.order}I', self.view, self.position)
        self.position += 4
        return value

    def byte(self) -> int:
        self.position += 1
        return self.view[self.position - 1]

    def blob(self) -> memoryview:
        length = self.uint32()
        self.position += length
        blob = self.view[self.position - length : self.position]
        if len(blob) < length:
            msg = f'a field of {length} bytes has {len(blob)}'
            raise ValueError(msg)
        return blob

    def string(self) -> str:
        return bytes(self.blob()).rstrip(b'\0').decode()

    def header_stamp_ns(self) -> int:
        if self.is_ros1:
            self.uint32()  # seq
        stamp_ns = self.uint32() * 10**9 + self.uint32()
        self.string()  # frame_id
        return stamp_ns


def header_stamp_ns(message: Message) -> int:
    """
    Return the stamp of a message's header; where it is zero, the time it was recorded.

    :raises EncodingError: if the message is too short for a header
    """
    try:
        return _Fields(message.data, message.serialization).header_stamp_ns() or message.time_ns
    except (struct.error, ValueError, IndexError) as error:
        raise EncodingError(_broken(message, error)) from error


def decode_message(message: Message) -> np.ndarray:
    """
    Return the picture of an Image or CompressedImage message as RGB, (H, W, 3) uint8.

    :raises EncodingError: if the message or its picture is broken or of an unknown encoding
    """
    try:
        fields = _Fields(message.data, message.serialization)
        fields.header_stamp_ns()
        if message.msgtype == COMPRESSED_TYPE:
            image_format = fields.string()
            return decode_compressed(fields.blob(), image_format)
        height, width, encoding = fields.uint32(), fields.uint32(), fields.string()
        is_bigendian, step, data = fields.byte(), fields.uint32(), fields.blob()
    except (struct.error, ValueError, IndexError) as error:
        raise EncodingError(_broken(message, error)) from error
    return decode_image(
        encoding, data, height=height, width=width, step=step, is_bigendian=is_bigendian
    )


def _broken(message: Message, error: Exception) -> str:
    return (
        f'A message on {message.topic!r} is no whole {message.msgtype} ({error}); record it again '
        'or leave the topic out.'
    )
