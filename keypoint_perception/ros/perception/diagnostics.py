"""
``/diagnostics``: what the node does, and the reason if it publishes nothing.

One :class:`DiagnosticStatus` per camera and second. Its message is a sentence for people, its
values are for monitors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from keypoint_perception.ros.installation import DDS_PROFILE, dds_profile_in_use, shipped_file
from keypoint_perception.ros.perception.camera import Camera
from keypoint_perception.ros.perception.image_input import LOST_SHARE
from keypoint_perception.ros.perception.node_statistics import NodeStatistics, StatisticsSnapshot
from keypoint_perception.seen_messages import SeenMessages
from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

# Longer than the period of a slow camera, shorter than a user's patience.
SILENT_S = 2.0
SILENCE = 'nothing published'
# The default segment of 512 KiB also holds the data of other topics.
LARGE_BYTES = 400_000
STAGES = {
    'latency': 'latency stamp to publish',
    'age': 'age of stamps at arrival',
    'wait': 'wait for the engine',
    'prepare': 'decode and fit time',
    'engine': 'engine time',
    'publish': 'publish time',
}


@dataclass(frozen=True)
class NodeCondition:
    """
    The condition of the node and one camera; texts are empty if they do not apply.

    :param state: lifecycle state
    :param load_error: why no engine is loaded
    :param fault: why the engine is not running
    :param busy_s: how long the current engine call has been running
    :param publishers: number of publishers on the image topic
    :param blocking_reason: why no image can arrive
    :param idle_topics: output topics without subscribers, for which the camera stays idle
    """

    state: str
    build_progress: str = ''
    load_error: str = ''
    disabled: bool = False
    fault: str = ''
    faults: int = 0
    last_error: str = ''
    engine: str = ''
    busy_s: float = 0.0
    gpu_memory: str = ''
    model: str = ''
    topic: str = ''
    publishers: int = 0
    blocking_reason: str = ''
    camera: str = ''
    idle_topics: str = ''


class DiagnosticsPublisher:
    """Publishes ``/diagnostics``; reasons for a long silence are also logged, once each."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._logged = SeenMessages()
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)

    def restart(self) -> None:
        """Log every reason again."""
        self._logged = SeenMessages()

    def publish(
        self, cameras: Sequence[Camera], condition: NodeCondition, silence_timeout_s: float
    ) -> None:
        """
        Publish the status of each camera.

        :param silence_timeout_s: time without a keypoint message after which the reason is logged
        """
        array = DiagnosticArray(header=Header(stamp=self._node.get_clock().now().to_msg()))
        name = self._node.get_fully_qualified_name()
        for camera in cameras:
            images, statistics = camera.input, camera.statistics.snapshot()
            of_camera = replace(
                condition,
                camera=camera.name,
                topic=camera.topic,
                publishers=images.publishers if images else 0,
                blocking_reason=images.blocking_reason() if images else '',
                idle_topics='' if images else camera.publishers.topics,
            )
            array.status.append(to_status(name, of_camera, statistics))
            if of_camera.state == 'active' and images:
                self._log_problem(of_camera, statistics, silence_timeout_s)
        if not cameras:
            array.status.append(to_status(name, condition, NodeStatistics().snapshot()))
        self._publisher.publish(array)

    def _log_problem(
        self, condition: NodeCondition, statistics: StatisticsSnapshot, silence_timeout_s: float
    ) -> None:
        silent = statistics.silent_s > max(SILENT_S, silence_timeout_s)
        if not silent:  # log the next silence again, but not that a network keeps losing images
            self._logged.forget(SILENCE, subject=condition.camera)
        if silent or statistics.lost_share > LOST_SHARE:
            _, message = assess(condition, statistics)
            if self._logged.is_new(message, subject=condition.camera):
                self._node.get_logger().warning(message)


def assess(condition: NodeCondition, statistics: StatisticsSnapshot) -> tuple[bytes, str]:
    """Return the level and the message: all is well, or why little or nothing is published."""
    if condition.build_progress and condition.state != 'active':
        return DiagnosticStatus.WARN, condition.build_progress
    if condition.load_error:
        return DiagnosticStatus.ERROR, condition.load_error
    if condition.state != 'active':
        return DiagnosticStatus.OK, f'{condition.state}: waiting for a lifecycle manager'
    if condition.fault:
        return DiagnosticStatus.ERROR, condition.fault
    if condition.disabled:
        return DiagnosticStatus.OK, 'disabled by ~/enable'
    if condition.idle_topics:
        return DiagnosticStatus.OK, f'idle: no subscriber to {condition.idle_topics}'
    if statistics.silent_s > SILENT_S:
        return _explain_silence(condition, statistics)
    if statistics.lost_share > LOST_SHARE:
        return DiagnosticStatus.WARN, explain_loss(condition.topic, statistics)
    if recent := statistics.rejected.recent:
        message = f'{recent} bad images in the last seconds; {statistics.rejected.last}'
        return DiagnosticStatus.WARN, message
    if statistics.degraded.recent:
        return DiagnosticStatus.WARN, statistics.degraded.last
    return DiagnosticStatus.OK, f'publishing at {statistics.output_hz:.1f} Hz'


def _explain_silence(
    condition: NodeCondition, statistics: StatisticsSnapshot
) -> tuple[bytes, str]:
    if statistics.rejected.recent:
        return DiagnosticStatus.ERROR, f'{SILENCE}: {statistics.rejected.last}'
    if condition.blocking_reason:
        return DiagnosticStatus.WARN, f'{SILENCE}: {condition.blocking_reason}'
    if statistics.lost_share > LOST_SHARE:
        return DiagnosticStatus.ERROR, explain_loss(condition.topic, statistics)
    if condition.busy_s > SILENT_S:
        message = f'{SILENCE}: the engine has been busy for {condition.busy_s:.0f} s.'
        return DiagnosticStatus.WARN, message
    return DiagnosticStatus.WARN, (
        f'{SILENCE}: {condition.publishers} publisher(s) on {condition.topic}, '
        f'but no image for {statistics.silent_s:.0f} s; check the publisher, and for large images '
        f'the DDS profile {shipped_file("config", DDS_PROFILE)}.'
    )


def explain_loss(topic: str, statistics: StatisticsSnapshot) -> str:
    """Return why images are lost, and what to do."""
    lost = f'{statistics.lost_share:.0%} of the images on {topic} are lost in transit'
    if 0 < statistics.image_bytes < LARGE_BYTES:
        return f'{lost}: check the network and the load of the machine, or send compressed images.'
    own = dds_profile_in_use()
    profile = own or shipped_file('config', DDS_PROFILE)
    who = 'the publisher (this node has it already)' if own else 'the publisher and this node'
    return (
        f'{lost}: images above 0.5 MB do not fit the shared memory that Fast DDS reserves by '
        f'default; start {who} with FASTRTPS_DEFAULT_PROFILES_FILE={profile}.'
    )


def to_status(
    name: str, condition: NodeCondition, statistics: StatisticsSnapshot
) -> DiagnosticStatus:
    """Return the status of a camera of the node of that name."""
    level, message = assess(condition, statistics)
    values = {
        'state': condition.state,
        'engine': condition.engine,
        'engine being built': condition.build_progress,
        'GPU memory': condition.gpu_memory,
        'model': condition.model,
        'image topic': condition.topic,
        'publishers': condition.publishers,
        'input rate (Hz)': f'{statistics.input_hz:.2f}',
        'output rate (Hz)': f'{statistics.output_hz:.2f}',
        'images received': statistics.counts['received'],
        'keypoints published': statistics.counts['published'],
        'dropped for a newer image': statistics.counts['dropped'],
        'lost before arrival': statistics.counts['lost'],
        'bad images': sum(statistics.rejected.counts.values()),
        **{f'bad images: {kind}': n for kind, n in sorted(statistics.rejected.counts.items())},
        'last bad image': statistics.rejected.last,
        **{f'notes: {kind}': n for kind, n in sorted(statistics.degraded.counts.items())},
        'last note': statistics.degraded.last,
        'stamps or clock went back': statistics.counts['clock_jumps'],
        'engine faults': condition.faults,
        'last error': condition.last_error,
    }
    for stage, label in STAGES.items():
        for share, figure in zip(('p50', 'p95', 'p99'), statistics.spread_ms[stage], strict=True):
            values[f'{label} {share} (ms)'] = f'{figure:.2f}'
    return DiagnosticStatus(
        level=level,
        name=f'{name}: ' + f'{condition.camera} keypoints'.strip(),
        message=message,
        hardware_id=condition.model,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
