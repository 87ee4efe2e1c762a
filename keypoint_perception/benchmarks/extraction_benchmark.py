"""The speed of frame extraction, compared with rosbags alone reading the same bag."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import resource
import tempfile
import time
from typing import Any

import cv2
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.extraction import extract_frames
from keypoint_perception.frames.source import choose_topics, open_recording
import numpy as np

ROUNDS = 3


def write_camera_bag(path: Path, frames: int, image_hw: tuple[int, int] = (480, 640)) -> None:
    """Write an uncompressed rosbag2 (MCAP) of raw rgb8 images, as from a camera driver."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import get_typestore, Stores

    types = get_typestore(Stores.ROS2_JAZZY)
    image_type = types.types['sensor_msgs/msg/Image']
    header_type, time_type = (
        types.types[name] for name in ('std_msgs/msg/Header', 'builtin_interfaces/msg/Time')
    )
    height, width = image_hw
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection(
            '/camera/image_raw', image_type.__msgtype__, typestore=types
        )
        for index in range(frames):
            stamp_ns = 10**18 + index * 10**9 // 30
            header = header_type(time_type(stamp_ns // 10**9, stamp_ns % 10**9), 'camera')
            pixels = np.roll(noise, index, axis=1).reshape(-1)
            message = image_type(header, height, width, 'rgb8', 0, 3 * width, pixels)
            data = types.serialize_cdr(message, image_type.__msgtype__)
            writer.write(connection, stamp_ns, data)


def measure_extraction(
    source: Path,
    topic: str | None = None,
    *,
    size: int = 128,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """
    Return the rates of extraction and of rosbags alone, in images/s on one core.

    The two take turns, so that other load affects both alike; each rate is that of the median.

    :param source: rosbag2 directory or bag file
    :raises SourceError: if rosbags alone cannot read it
    """
    recording = open_recording(source)
    ((chosen, *_),) = choose_topics([recording], [topic] if topic else [])
    rosbags_s, extraction_s, images = [], [], 0
    with _one_core(), tempfile.TemporaryDirectory(prefix='keypoint_perception_') as directory:
        for turn in range(ROUNDS):
            seconds, images = _read_with_rosbags(Path(source), chosen)
            rosbags_s.append(seconds)
            progress(2 * turn + 1, 2 * ROUNDS)
            started = time.perf_counter()
            store = extract_frames([source], [chosen], Path(directory) / str(turn), size=size)
            extraction_s.append(time.perf_counter() - started)
            progress(2 * turn + 2, 2 * ROUNDS)
    rosbags_hz = images / float(np.median(rosbags_s))
    extraction_hz = len(store) / float(np.median(extraction_s))
    return {
        'images': images,
        'extracted': len(store),
        'image_hw': store.image_hw[0].tolist(),
        'network_hw': list(store.network_hw),
        'rosbags_images_per_s': round(rosbags_hz, 1),
        'extraction_images_per_s': round(extraction_hz, 1),
        'ratio': round(extraction_hz / rosbags_hz, 3),
        'rounds_s': {'rosbags': rosbags_s, 'extraction': extraction_s},
        'peak_memory_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _read_with_rosbags(source: Path, topic: str) -> tuple[float, int]:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import get_typestore, Stores

    started, images = time.perf_counter(), 0
    try:
        with AnyReader([source], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            connections = [c for c in reader.connections if c.topic == topic]
            for connection, _, data in reader.messages(connections):
                reader.deserialize(data, connection.msgtype)
                images += 1
    except Exception as error:  # rosbags raises any type on malformed data
        msg = f'rosbags alone cannot read {str(source)!r} ({error}); specify an intact bag.'
        raise SourceError(msg) from error
    return time.perf_counter() - started, images


@contextmanager
def _one_core() -> Iterator[None]:
    """Restrict this process to one core, or OpenCV to one thread where that is not possible."""
    threads = cv2.getNumThreads()
    allowed = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else None
    cv2.setNumThreads(1)
    if allowed:
        os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        if allowed:
            os.sched_setaffinity(0, allowed)
