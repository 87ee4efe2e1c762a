"""Tiny recordings, written by the tests themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import struct
from types import SimpleNamespace
import zlib

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

RAW = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000
TYPES = get_typestore(Stores.ROS2_JAZZY)
TYPES1 = get_typestore(Stores.ROS1_NOETIC)


def picture_number(index: int, height: int = 6, width: int = 8) -> np.ndarray:
    """Return an image that tells its number, and left from right and red from blue."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = index % 256
    image[:, : width // 2, 2] = 200
    return image


def raw_message(image: np.ndarray, stamp_ns: int, **changes):
    """Return an Image message of an RGB picture; changes replace its fields."""
    header = TYPES.types['std_msgs/msg/Header'](
        TYPES.types['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9), 'camera'
    )
    height, width = image.shape[:2]
    fields = {
        'header': header,
        'height': height,
        'width': width,
        'encoding': 'rgb8',
        'is_bigendian': 0,
        'step': 3 * width,
        'data': np.ascontiguousarray(image).reshape(-1),
    }
    return TYPES.types[RAW](**(fields | changes))


def compressed_message(content: bytes, stamp_ns: int, image_format: str = 'jpeg'):
    """Return a CompressedImage message."""
    header = raw_message(np.zeros((1, 1, 3), np.uint8), stamp_ns).header
    return TYPES.types[COMPRESSED](header, image_format, np.frombuffer(content, np.uint8))


def camera_rows(frames: int = 3, topic: str = '/camera/image_raw', **size) -> list[tuple]:
    """Return (topic, time, message) of one camera."""
    stamps = [START_NS + index * PERIOD_NS for index in range(frames)]
    return [
        (topic, stamp_ns, raw_message(picture_number(index, **size), stamp_ns))
        for index, stamp_ns in enumerate(stamps)
    ]


def write_bag(
    path: Path,
    rows: list[tuple],
    *,
    storage: str = 'mcap',
    compression: CompressionMode = CompressionMode.NONE,
    extra_topics: dict[str, str] | None = None,
) -> Path:
    """Write a rosbag2 of (topic, time, message) rows."""
    plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, msgtype in (extra_topics or {}).items():
            connections[topic] = writer.add_connection(topic, msgtype, typestore=TYPES)
        for topic, time_ns, message in rows:
            msgtype = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, msgtype, typestore=TYPES)
            data = TYPES.serialize_cdr(message, msgtype)
            writer.write(connections[topic], time_ns, data)
    return path


def storage_file(bag: Path) -> Path:
    """Return the one storage file of a rosbag2."""
    (path,) = (p for p in bag.iterdir() if p.name != 'metadata.yaml')
    return path


def write_ros1_bag(
    path: Path,
    frames: int = 3,
    surplus: bytes = b'',
    compression: str = '',
    chunk_bytes: int = 1 << 20,
) -> Path:
    """Write a ROS 1 bag of one camera."""
    header_type = TYPES1.types['std_msgs/msg/Header']
    writer = Writer1(path)
    writer.chunk_threshold = chunk_bytes
    if compression:
        writer.set_compression(Writer1.CompressionFormat[compression.upper()])
    with writer:
        connection = writer.add_connection('/camera/image_raw', RAW, typestore=TYPES1)
        for index in range(frames):
            stamp_ns = START_NS + index * PERIOD_NS
            message = raw_message(picture_number(index), stamp_ns)
            fields = {
                name: getattr(message, name)
                for name in ('height', 'width', 'encoding', 'is_bigendian', 'step', 'data')
            }
            header = header_type(index, message.header.stamp, 'camera')
            message = TYPES1.types[RAW](header, **fields)
            data = bytes(TYPES1.serialize_ros1(message, RAW)) + surplus
            writer.write(connection, stamp_ns, data)
    return path


def _text(value: str) -> bytes:
    return struct.pack('<I', len(value)) + value.encode()


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack('<BQ', kind, len(content)) + content


def write_plain_mcap(
    path: Path,
    rows: list[tuple],
    *,
    compress: Callable[[bytes], bytes] | None = None,
    compression: str = '',
    rows_per_chunk: int = 2,
    msgtype: str = RAW,
    finished: bool = True,
) -> list[int]:
    """
    Write an MCAP file without summary and index, as simple recorders do.

    :param rows_per_chunk: 0 for messages without chunks
    :param finished: whether the end of the data is marked; False as after a crash
    :return: for each row, the offset behind what is needed to read it
    """
    topics = sorted({row[0] for row in rows})
    schema = struct.pack('<H', 1) + _text(msgtype) + _text('ros2msg') + _text('')
    head = b'\x89MCAP0\r\n' + _record(1, _text('ros2') + _text('')) + _record(3, schema)
    for number, topic in enumerate(topics):
        content = struct.pack('<HH', number, 1) + _text(topic) + _text('cdr') + _text('')
        head += _record(4, content)
    out, ends = bytearray(head), []
    messages = []
    for topic, time_ns, message in rows:
        data = bytes(TYPES.serialize_cdr(message, message.__msgtype__))
        fixed = struct.pack('<HIQQ', topics.index(topic), 0, time_ns, time_ns)
        messages.append((time_ns, _record(5, fixed + data)))
    stride = rows_per_chunk or 1
    for start in range(0, len(messages), stride):
        group = messages[start : start + stride]
        records = b''.join(record for _, record in group)
        if rows_per_chunk:
            packed = compress(records) if compress else records
            chunk = struct.pack(
                '<QQQI', group[0][0], group[-1][0], len(records), zlib.crc32(records)
            )
            chunk += _text(compression) + struct.pack('<Q', len(packed)) + packed
            records = _record(6, chunk)
        out += records
        ends += [len(out)] * len(group)
    if finished:
        footer = _record(2, struct.pack('<QQI', 0, 0, 0))
        out += _record(15, struct.pack('<I', 0)) + footer + b'\x89MCAP0\r\n'
    path.write_bytes(out)
    return ends


@pytest.fixture
def recordings() -> SimpleNamespace:
    """Return the functions of this file, which tests cannot import in pytest's importlib mode."""
    return SimpleNamespace(**{name: value for name, value in globals().items() if name[0] != '_'})


@pytest.fixture
def camera_bag(tmp_path) -> Path:
    """Return a rosbag2 of one camera with three images."""
    return write_bag(tmp_path / 'camera_bag', camera_rows())
