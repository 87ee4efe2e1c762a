"""Images are read from their serialised form, and never past its end."""

import array
import struct

from keypoint_perception.cdr import read_compressed_image, read_image
from keypoint_perception.errors import EncodingError
import pytest


def serialised(fields: bytes, identifier: bytes = b'\x00\x01') -> bytes:
    return identifier + b'\x00\x00' + fields


def image_by_hand(order: str, identifier: bytes) -> bytes:
    # numbers stand at multiples of their size, counted from behind the first four bytes
    fields = struct.pack(order + 'iII3s', -1, 5, 3, b'ab\0') + b'\0'  # 16 bytes
    fields += struct.pack(order + 'II', 2, 1)  # height and width: 24 bytes
    fields += struct.pack(order + 'I5sB', 5, b'rgb8\0', 1) + b'\0\0'  # 36 bytes
    fields += struct.pack(order + 'II', 3, 6) + b'pixels'
    return serialised(fields, identifier)


@pytest.mark.parametrize(
    ('order', 'identifier'),
    [('<', b'\x00\x01'), ('>', b'\x00\x00'), ('<', b'\x00\x07'), ('>', b'\x00\x06')],
)
def test_image_written_by_hand(order, identifier):
    image = read_image(image_by_hand(order, identifier))
    assert image.header == (-1, 5, 'ab')
    assert (image.height, image.width, image.encoding) == (2, 1, 'rgb8')
    assert (image.is_bigendian, image.step, bytes(image.data)) == (1, 3, b'pixels')


def test_pixels_are_not_copied():
    content = image_by_hand('<', b'\x00\x01')
    assert read_image(content).data.obj is content


@pytest.mark.parametrize('frame_id', ['', 'a', 'ab', 'abc', 'caméra'])
@pytest.mark.parametrize('encoding', ['', 'rgb8', 'mono16'])
def test_image_as_ros_writes_it(ros_domain, frame_id, encoding):
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CompressedImage, Image

    message = Image(height=3, width=4, step=12, is_bigendian=1, encoding=encoding)
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = 1_700_000_000, 999_999_999
    message.data = array.array('B', range(36))
    image = read_image(serialize_message(message))
    assert image.header.stamp_ns == 1_700_000_000_999_999_999
    assert (image.header.frame_id, image.encoding) == (frame_id, encoding)
    assert (image.height, image.width, image.step, image.is_bigendian) == (3, 4, 12, 1)
    assert bytes(image.data) == bytes(range(36))

    compressed = CompressedImage(header=message.header, format=encoding, data=message.data)
    image = read_compressed_image(serialize_message(compressed))
    assert (image.header.frame_id, image.format) == (frame_id, encoding)
    assert bytes(image.data) == bytes(range(36))


def test_every_cut_is_noticed():
    content = image_by_hand('<', b'\x00\x01')
    for length in range(len(content)):
        with pytest.raises(EncodingError, match=f'cut short: it has {length} bytes'):
            read_image(content[:length])


def test_a_length_beyond_the_end_is_noticed():
    with pytest.raises(EncodingError, match='expected at least 4294967311'):
        read_image(serialised(struct.pack('<iII', 0, 0, 0xFFFFFFFF - 0) + b'x'))


def test_other_representations_are_refused():
    with pytest.raises(EncodingError, match='representation 11; expected plain CDR, 0, 1, 6, 7'):
        read_image(serialised(b'', b'\x00\x0b'))


def test_text_that_is_no_text_is_refused():
    content = image_by_hand('<', b'\x00\x01').replace(b'ab\0', b'\xff\xfe\0')
    with pytest.raises(EncodingError, match='a text of 3 bytes that is not UTF-8'):
        read_image(content)
