"""Messages are read from their serialised form, and never beyond its end."""

import struct

from keypoint_perception.cdr import (
    read_camera_info,
    read_image,
    read_stamp_ns,
)
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


def test_ros1_image_written_by_hand():
    # nothing is aligned, texts have no terminator, and a sequence number comes first
    content = struct.pack('<3I', 7, 3_000_000_000, 5) + struct.pack('<I', 3) + b'cam'
    content += struct.pack('<II', 2, 1) + struct.pack('<I', 4) + b'rgb8' + b'\1'
    content += struct.pack('<II', 3, 6) + b'pixels'
    image = read_image(content + b'surplus', ros1=True)
    assert image.header == (3_000_000_000, 5, 'cam')
    assert (image.height, image.width, image.encoding) == (2, 1, 'rgb8')
    assert (image.is_bigendian, image.step, bytes(image.data)) == (1, 3, b'pixels')
    assert read_stamp_ns(content, ros1=True) == 3_000_000_000_000_000_005


def camera_info_by_hand(order: str, identifier: bytes, coefficients: int) -> bytes:
    fields = struct.pack(order + 'iII3s', 1, 5, 3, b'ab\0') + b'\0'  # 16 bytes
    fields += struct.pack(order + 'II', 480, 640)  # 24 bytes
    fields += struct.pack(order + 'I10s', 10, b'plumb_bob\0') + b'\0\0'  # 40 bytes
    fields += struct.pack(order + 'I', coefficients)  # 44 bytes
    if identifier[1] < 6:  # CDR aligns numbers of eight bytes to eight, plain CDR2 to four
        fields += b'\0' * 4
    fields += struct.pack(order + f'{coefficients + 30}d', *range(coefficients + 30))
    fields += struct.pack(order + '6IB', 2, 4, 10, 20, 100, 200, 1)
    return serialised(fields, identifier)


@pytest.mark.parametrize('coefficients', [0, 5])
@pytest.mark.parametrize(
    ('order', 'identifier'),
    [('<', b'\x00\x01'), ('>', b'\x00\x00'), ('<', b'\x00\x07'), ('>', b'\x00\x06')],
)
def test_camera_info_written_by_hand(order, identifier, coefficients):
    content = camera_info_by_hand(order, identifier, coefficients)
    info = read_camera_info(content)
    assert info.header == (1, 5, 'ab')
    assert (info.height, info.width, info.distortion_model) == (480, 640, 'plumb_bob')
    numbers = [*info.d, *info.k, *info.r, *info.p]
    assert (numbers, len(info.d)) == (list(range(coefficients + 30)), coefficients)
    assert (len(info.k), len(info.r), len(info.p)) == (9, 9, 12)
    assert (info.binning_x, info.binning_y) == (2, 4)
    assert info.roi == (10, 20, 100, 200, True)
    for length in range(len(content)):
        with pytest.raises(EncodingError, match=f'truncated: it has {length} bytes'):
            read_camera_info(content[:length])


def test_pixels_are_not_copied():
    content = image_by_hand('<', b'\x00\x01')
    assert read_image(content).data.obj is content


def test_truncated_images_are_refused():
    content = image_by_hand('<', b'\x00\x01')
    for length in range(len(content)):
        with pytest.raises(EncodingError, match=f'truncated: it has {length} bytes'):
            read_image(content[:length])


def test_a_length_beyond_the_end_is_refused():
    with pytest.raises(EncodingError, match='expected at least 4294967311'):
        read_image(serialised(struct.pack('<iII', 0, 0, 0xFFFFFFFF - 0) + b'x'))


def test_other_representations_are_refused():
    with pytest.raises(
        EncodingError, match=r'representation 11, expected plain CDR \(0, 1, 6, 7\)'
    ):
        read_image(serialised(b'', b'\x00\x0b'))


def test_a_string_that_is_not_utf8_is_refused():
    content = image_by_hand('<', b'\x00\x01').replace(b'ab\0', b'\xff\xfe\0')
    with pytest.raises(EncodingError, match='a string of 2 bytes that is not UTF-8'):
        read_image(content)
