"""Image messages are read from their bytes, whoever wrote them."""

import struct

from keypoint_perception.errors import EncodingError
from keypoint_perception.frames.message import Message, normal_type
import numpy as np
import pytest


def as_message(recordings, data, serialization='cdr', msgtype=None):
    return Message('/camera', msgtype or recordings.RAW, serialization, 77, bytes(data))


@pytest.mark.parametrize('little_endian', [True, False])
def test_cdr_of_either_byte_order(recordings, little_endian):
    picture = recordings.picture_number(5)
    written = recordings.raw_message(picture, 3_000_000_004)
    data = recordings.TYPES.serialize_cdr(written, recordings.RAW, little_endian=little_endian)
    message = as_message(recordings, data)
    assert message.stamp_ns == 3_000_000_004
    np.testing.assert_array_equal(message.decode().to_rgb(), picture)


@pytest.mark.parametrize('frame_id', ['', 'c', 'camera_link'])
def test_alignment_behind_any_frame_id(recordings, frame_id):
    written = recordings.raw_message(recordings.picture_number(5), 1)
    written.header.frame_id = frame_id
    message = as_message(recordings, recordings.TYPES.serialize_cdr(written, recordings.RAW))
    np.testing.assert_array_equal(message.decode().to_rgb(), recordings.picture_number(5))


def test_surplus_bytes_of_a_ros1_message_are_ignored(recordings):
    picture = recordings.picture_number(5)
    height, width = picture.shape[:2]
    data = struct.pack('<III', 9, 3, 4) + struct.pack('<I', 6) + b'camera'
    data += struct.pack('<III', height, width, 4) + b'rgb8' + b'\0'
    data += struct.pack('<II', 3 * width, picture.size) + picture.tobytes() + b'1234'
    message = as_message(recordings, data, 'ros1')
    assert message.stamp_ns == 3_000_000_004
    np.testing.assert_array_equal(message.decode().to_rgb(), picture)


def test_zero_stamp_of_a_header_is_one(recordings):
    written = recordings.raw_message(recordings.picture_number(5), 0)
    data = recordings.TYPES.serialize_cdr(written, recordings.RAW)
    assert as_message(recordings, data).stamp_ns == 0


@pytest.mark.parametrize('length', [0, 3, 10, 30, 60, 100])
def test_message_cut_short_is_refused(recordings, length):
    written = recordings.raw_message(recordings.picture_number(5), 1)
    data = recordings.TYPES.serialize_cdr(written, recordings.RAW)[:length]
    expected = "Topic '/camera': A sensor_msgs/msg/Image message is truncated"
    with pytest.raises(EncodingError, match=expected):
        as_message(recordings, data).decode()


def test_types_without_msg_are_the_same_types():
    assert normal_type('sensor_msgs/Image') == 'sensor_msgs/msg/Image'
    assert normal_type('sensor_msgs/msg/Image') == 'sensor_msgs/msg/Image'
