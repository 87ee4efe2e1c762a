"""Messages of recordings and the images in them."""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.cdr import (
    Buffer,
    COMPRESSED_IMAGE_TYPE,
    read_compressed_image,
    read_image,
    read_stamp_ns,
)
from keypoint_perception.encodings import EncodedImage
from keypoint_perception.errors import EncodingError
from keypoint_perception.images import open_message


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
    data: Buffer

    @property
    def stamp_ns(self) -> int:
        """Return the header's stamp, or the time of recording if that is unreadable."""
        try:
            return read_stamp_ns(self.data, ros1=self.serialization == 'ros1')
        except EncodingError:
            return self.time_ns  # decoding reports the error

    def decode(self) -> EncodedImage:
        """
        Return the image of an Image or CompressedImage message.

        :raises EncodingError: if the message or its image is broken or has an unknown encoding
        """
        read = read_compressed_image if self.msgtype == COMPRESSED_IMAGE_TYPE else read_image
        try:
            image = read(self.data, ros1=self.serialization == 'ros1')
        except EncodingError as error:
            msg = f'Topic {self.topic!r}: {error}'
            raise EncodingError(msg) from error
        return open_message(image)


def normal_type(msgtype: str) -> str:
    """Return a type's ROS 2 name; ROS 1 and old bags omit ``/msg``."""
    package, _, name = msgtype.partition('/')
    return msgtype if '/' in name else f'{package}/msg/{name}'
