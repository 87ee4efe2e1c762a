"""
Keypoints as a rosbag2, as the node would have published them.

One ``sensor_msgs/PointCloud2`` per image: height 1, width K, FLOAT32 fields ``x y z u v
confidence``; x, y, z are NaN because there is no depth.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keypoint_perception.atomic_files import PendingDirectory
from keypoint_perception.cdr import MessageHeader
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.stamps import END_NS
from keypoint_perception.point_cloud import POINT_CLOUD_TYPE, serialise_point_cloud
import numpy as np

KEYPOINT_TOPIC = '/perception_node/keypoints'


def keypoint_topic(camera: str, *, cameras: int) -> str:
    """
    Return the topic of a camera's keypoints.

    It is the node's own with one camera; with several, ``/left/image`` has
    ``/perception_node/left/image/keypoints``.
    """
    if cameras == 1:
        return KEYPOINT_TOPIC
    return f'/perception_node/{camera.strip("/")}/keypoints'


class KeypointBag:
    """
    A rosbag2 (MCAP) of keypoints, which takes its name when complete; use as a context manager.

    :raises SourceError: if the directory exists already
    """

    def __init__(self, path: Path | str) -> None:
        from rosbags.rosbag2 import StoragePlugin, Writer
        from rosbags.typesys import get_typestore, Stores

        self.path = Path(path)
        if self.path.exists():
            msg = (
                f'{str(self.path)!r} exists already and bags are not overwritten; remove it, or '
                'choose another directory.'
            )
            raise SourceError(msg)
        self._pending = PendingDirectory(self.path)
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._writer = Writer(self._pending.part, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def write(self, stamp_ns: int, topic: str, keypoints: np.ndarray, frame_id: str = '') -> None:
        """
        Write the keypoints of one image; they are received at the time of its stamp.

        :param topic: topic of the keypoints
        :param keypoints: u, v in px and confidence, (K, 3)
        :param frame_id: of the image's header
        :raises SourceError: if the stamp is negative or after 2038
        """
        if not 0 <= stamp_ns < END_NS:
            msg = (
                f'An image has the stamp {stamp_ns} ns, which a bag cannot hold; choose others '
                'with --stamps bag or --stamps index.'
            )
            raise SourceError(msg)
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, POINT_CLOUD_TYPE, typestore=self._typestore
            )
        header = MessageHeader(*divmod(stamp_ns, 10**9), frame_id)
        data = serialise_point_cloud(header, keypoints)
        self._writer.write(self._connections[topic], stamp_ns, data)

    def __enter__(self) -> KeypointBag:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._writer.close()
        self._pending.__exit__(kind)
