"""Bags are streamed: memory does not grow with them."""

import tracemalloc

from keypoint_perception.frames.source import read_frames
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

HEIGHT, WIDTH = 120, 160
FRAME_BYTES = 3 * HEIGHT * WIDTH
IMAGE_TYPE = 'sensor_msgs/msg/Image'


def write_bag(path, frames, plugin):
    typestore = get_typestore(Stores.ROS2_JAZZY)
    types = typestore.types
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection('/camera', IMAGE_TYPE, typestore=typestore)
        for i in range(frames):
            stamp = types['builtin_interfaces/msg/Time'](sec=i, nanosec=0)
            message = types[IMAGE_TYPE](
                header=types['std_msgs/msg/Header'](stamp=stamp, frame_id=''),
                height=HEIGHT,
                width=WIDTH,
                encoding='rgb8',
                is_bigendian=0,
                step=3 * WIDTH,
                data=np.full(FRAME_BYTES, i % 256, np.uint8),
            )
            data = typestore.serialize_cdr(message, IMAGE_TYPE)
            writer.write(connection, i * 10**9, data)
    return path


def peak_bytes(path, *, frames):
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_frames(path)) == frames
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('plugin', list(StoragePlugin), ids=lambda plugin: plugin.name)
def test_memory_stays_flat(tmp_path, plugin):
    short = write_bag(tmp_path / 'short', 60, plugin)
    long = write_bag(tmp_path / 'long', 480, plugin)
    growth = peak_bytes(long, frames=480) - peak_bytes(short, frames=60)
    # 420 more images are 24 MB; an index entry for each is allowed
    assert growth < 20 * FRAME_BYTES
