"""
The messages that tell of a robot, read from their serialised bytes.

As in :mod:`keypoint_perception.cdr`, a message that is truncated raises :class:`EncodingError`.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.cdr import Buffer, FieldReader, MessageHeader
from keypoint_perception.errors import EncodingError

STRING_TYPE = 'std_msgs/msg/String'
JOINT_STATE_TYPE = 'sensor_msgs/msg/JointState'
# geometry2 of ROS 1 moved it from tf to tf2_msgs
TRANSFORM_TYPES = ('tf2_msgs/msg/TFMessage', 'tf/msg/tfMessage')
MOST_ENTRIES = 100_000  # of a sequence, which a damaged message may claim to have more of


class JointStateMessage(NamedTuple):
    """The first fields of ``sensor_msgs/JointState``; positions in rad or m, in any order."""

    header: MessageHeader
    names: tuple[str, ...]
    positions: tuple[float, ...]


class StampedTransform(NamedTuple):
    """The fields of ``geometry_msgs/TransformStamped``; the rotation is x, y, z, w."""

    header: MessageHeader
    child_frame_id: str
    translation: tuple[float, ...]
    rotation: tuple[float, ...]


def read_string(serialised: Buffer, *, ros1: bool = False) -> bytes:
    """Return the text of a serialised ``std_msgs/String``, which is decoded by its reader."""
    return bytes(FieldReader(serialised, STRING_TYPE, ros1=ros1).octets()).rstrip(b'\0')


def read_joint_state(serialised: Buffer, *, ros1: bool = False) -> JointStateMessage:
    """Return a serialised ``sensor_msgs/JointState``."""
    reader = FieldReader(serialised, JOINT_STATE_TYPE, ros1=ros1)
    header = reader.header()
    names = tuple(reader.string() for _ in range(_count(reader, JOINT_STATE_TYPE)))
    return JointStateMessage(header, names, reader.float64(_count(reader, JOINT_STATE_TYPE)))


def read_transforms(serialised: Buffer, *, ros1: bool = False) -> list[StampedTransform]:
    """Return the transforms of a serialised ``tf2_msgs/TFMessage``."""
    reader = FieldReader(serialised, TRANSFORM_TYPES[0], ros1=ros1)
    found = []
    for _ in range(_count(reader, TRANSFORM_TYPES[0])):
        header, child = reader.header(), reader.string()
        found.append(StampedTransform(header, child, reader.float64(3), reader.float64(4)))
    return found


def _count(reader: FieldReader, kind: str) -> int:
    count = reader.uint32()
    if count > MOST_ENTRIES:
        msg = f'A {kind} message claims {count} entries; check its publisher.'
        raise EncodingError(msg)
    return count
