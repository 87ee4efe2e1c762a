"""Bags of every kind, small and with several chunks, as subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from hashlib import sha1
from pathlib import Path
from random import Random

from torture.campaign import Subject
from torture.reference_readers import read_mcap, read_ros1, read_sqlite

FRAMES, SIZE_HW = 60, (24, 32)
IMAGE_BYTES = 3 * SIZE_HW[0] * SIZE_HW[1]
START_NS, PERIOD_NS = 1_700_000_000 * 10**9, 50_000_000
TOPIC = '/camera/image_raw'
CHUNK_BYTES = 24_000
ROS2_IMAGE = 'sensor_msgs/msg/Image'


def bag_subjects(directory: Path, only: str = '') -> Iterator[Subject]:
    """Write and yield the bags whose names contain a text."""
    for form, write, read, checked in (
        ('mcap', partial(_write_mcap, compression='NONE'), read_mcap, True),
        ('mcap lz4', partial(_write_mcap, compression='LZ4'), read_mcap, True),
        ('mcap zstd', partial(_write_mcap, compression='ZSTD'), read_mcap, True),
        ('db3', _write_sqlite, partial(read_sqlite, messages=FRAMES), False),
        ('ros1', partial(_write_ros1, compression=''), read_ros1, False),
        ('ros1 bz2', partial(_write_ros1, compression='BZ2'), read_ros1, True),
        ('ros1 lz4', partial(_write_ros1, compression='LZ4'), read_ros1, False),
    ):
        name = f'bag {form}'
        if only not in name:
            continue
        place = directory / form.replace(' ', '_')
        place.mkdir(parents=True)
        file = write(place)
        yield Subject(
            name, place, (file,), partial(use_bag, file=file), whole=whole_identities(),
            promised=partial(_promised, file=file, read=read), checked=checked,
        )  # fmt: skip


def use_bag(place: Path, file: str) -> list[str]:
    """Return the identities of the images that are read."""
    from keypoint_perception.frames.source import read_frames

    return [identity(frame.image.tobytes()) for frame in read_frames([place / file], [TOPIC])]


def identity(pixels: bytes) -> str:
    """Return a short name of an image's content."""
    return sha1(pixels, usedforsecurity=False).hexdigest()[:12]


def whole_identities() -> frozenset[str]:
    """Return the identities of all images."""
    return frozenset(identity(picture(index)) for index in range(FRAMES))


def picture(index: int) -> bytes:
    """Return the pixels of an image, RGB: half noise, half of one colour, so that it packs."""
    noise = Random(index).randbytes(IMAGE_BYTES // 2)
    return noise + bytes((4 * index, 255 - 3 * index, 77)) * (IMAGE_BYTES // 6)


def _promised(place: Path, file: str, read: Callable[[Path], list[bytes]]) -> set[str]:
    """Return the images of the messages that a simple reader gives as they were written."""
    whole = _all_messages(ros1=file.endswith('.bag'))
    return {identity(data[-IMAGE_BYTES:]) for data in read(place / file) if data in whole}


@cache
def _all_messages(*, ros1: bool) -> frozenset[bytes]:
    return frozenset(_messages(ros1=ros1))


def _messages(*, ros1: bool = False) -> Iterator[bytes]:
    import numpy as np
    from rosbags.typesys import get_typestore, Stores

    types = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
    serialize = types.serialize_ros1 if ros1 else types.serialize_cdr
    for index in range(FRAMES):
        seconds, nanoseconds = divmod(START_NS + index * PERIOD_NS, 10**9)
        stamp = types.types['builtin_interfaces/msg/Time'](seconds, nanoseconds)
        number = (index,) if ros1 else ()
        header = types.types['std_msgs/msg/Header'](*number, stamp, 'camera')
        pixels = np.frombuffer(picture(index), np.uint8)
        height, width = SIZE_HW
        image = types.types[ROS2_IMAGE](header, height, width, 'rgb8', 0, 3 * width, pixels)
        yield bytes(serialize(image, ROS2_IMAGE))


def _write_mcap(place: Path, compression: str) -> str:
    from mcap.writer import CompressionType, Writer

    with (place / 'bag.mcap').open('wb') as file:
        kind = CompressionType[compression]
        writer = Writer(file, chunk_size=CHUNK_BYTES, compression=kind)
        writer.start('ros2', 'torture')
        schema = writer.register_schema(ROS2_IMAGE, 'ros2msg', b'# not needed')
        channel = writer.register_channel(TOPIC, 'cdr', schema)
        text = writer.register_schema('std_msgs/msg/String', 'ros2msg', b'string data')
        other = writer.register_channel('/other', 'cdr', text)
        for index, data in enumerate(_messages()):
            stamp_ns = START_NS + index * PERIOD_NS
            writer.add_message(channel, stamp_ns, data, stamp_ns, index)
            writer.add_message(other, stamp_ns, b'\0\1\0\0\3\0\0\0ab\0', stamp_ns, index)
        writer.finish()
    return 'bag.mcap'


def write_directory(place: Path) -> None:
    """Write a rosbag2 directory with its metadata, and a SQLite file as storage."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import get_typestore, Stores

    types = get_typestore(Stores.ROS2_JAZZY)
    with Writer(place / 'bag', version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection(TOPIC, ROS2_IMAGE, typestore=types)
        for index, data in enumerate(_messages()):
            writer.write(connection, START_NS + index * PERIOD_NS, data)
    for path in (place / 'bag').iterdir():
        path.rename(place / path.name)
    (place / 'bag').rmdir()


def _write_sqlite(place: Path) -> str:
    write_directory(place)
    (place / 'metadata.yaml').unlink()
    return 'bag.db3'


def _write_ros1(place: Path, compression: str) -> str:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import get_typestore, Stores

    types = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer(place / 'bag.bag')
    writer.chunk_threshold = CHUNK_BYTES
    if compression:
        writer.set_compression(Writer.CompressionFormat[compression])
    with writer:
        connection = writer.add_connection(TOPIC, ROS2_IMAGE, typestore=types)
        for index, data in enumerate(_messages(ros1=True)):
            writer.write(connection, START_NS + index * PERIOD_NS, data)
    return 'bag.bag'
