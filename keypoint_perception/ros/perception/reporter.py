"""Publishes what the node does, and logs why it publishes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import re

from diagnostic_msgs.msg import DiagnosticArray
from keypoint_perception.ros.perception.camera import Camera
from keypoint_perception.ros.perception.diagnostics import (
    Circumstances,
    judge,
    SILENCE,
    SILENT_S,
    to_status,
)
from keypoint_perception.ros.perception.image_input import LOST_SHARE
from keypoint_perception.ros.perception.node_statistics import NodeStatistics, StatisticsSnapshot
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header


class Reporter:
    """Publishes ``/diagnostics``; a long silence is logged too, each reason once."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._said: set[tuple[str, str]] = set()
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)

    def restart(self) -> None:
        """Say again what has been said."""
        self._said.clear()

    def report(
        self, cameras: Sequence[Camera], common: Circumstances, *, silence_timeout: float
    ) -> None:
        """
        Tell how each camera is.

        :param common: what is the same for all of them
        :param silence_timeout: seconds without a message after which the log says why
        """
        array = DiagnosticArray(header=Header(stamp=self._node.get_clock().now().to_msg()))
        name = self._node.get_fully_qualified_name()
        for camera in cameras:
            circumstances, counts = of_camera(camera, common), camera.health.snapshot()
            array.status.append(to_status(name, circumstances, counts))
            if circumstances.state == 'active' and not circumstances.unheard:
                self._say_what_is_wrong(circumstances, counts, silence_timeout)
        if not cameras:
            array.status.append(to_status(name, common, NodeStatistics().snapshot()))
        self._publisher.publish(array)

    def _say_what_is_wrong(
        self, circumstances: Circumstances, counts: StatisticsSnapshot, silence_timeout: float
    ) -> None:
        camera = circumstances.camera
        silent = counts.silent_s > max(SILENT_S, silence_timeout)
        if not silent:  # the next silence is news again, a lossy network is not
            self._said = {
                said for said in self._said if said[0] != camera or not said[1].startswith(SILENCE)
            }
        if silent or counts.recently_lost > LOST_SHARE:
            _, sentence = judge(circumstances, counts)
            reason = re.sub(r'\d+', '#', sentence)  # its numbers change, it stays the same
            if (camera, reason) not in self._said:
                self._said.add((camera, reason))
                self._node.get_logger().warning(sentence)


def of_camera(camera: Camera, common: Circumstances) -> Circumstances:
    """Return what stands beside the counts of a camera."""
    listening = camera.input
    if listening is None:
        return replace(common, camera=camera.name, topic=camera.topic, unheard=camera.outputs)
    return replace(
        common,
        camera=camera.name,
        topic=listening.topic,
        publishers=listening.publishers,
        obstacle=listening.obstacle(),
    )
