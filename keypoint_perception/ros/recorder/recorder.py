"""
Records topics into a rosbag2 directory (MCAP) while a node runs.

Messages are written byte for byte as received; only the rate limit, the motion filter and JPEG
encoding read them. :mod:`keypoint_perception.ros.recorder.bag_recording` writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from datetime import datetime
import importlib.util
import os
from pathlib import Path
import sys
import threading
import time

from keypoint_perception.atomic_files import sole_writer
from keypoint_perception.camera_topics import camera_info_topics
from keypoint_perception.cdr import CAMERA_INFO_TYPE, IMAGE_TYPES, read_stamp_ns
from keypoint_perception.errors import ConfigError, EncodingError, SourceError
from keypoint_perception.frames.bag_writer import BagWriter
from keypoint_perception.ros.recorder.bag_recording import (
    BagRecording,
    disk_shortage,
    StopReason,
)
from keypoint_perception.ros.recorder.recorder_settings import (
    BYTES_PER_MB,
    RecorderSettings,
    ROBOT_TOPICS,
)
from keypoint_perception.ros.recorder.recording_filters import RateLimit
from keypoint_perception.ros.recorder.recording_queue import QueuedMessage, RecordingQueue
from keypoint_perception.ros.recorder.topic_subscription import (
    Log,
    TopicCounts,
    TopicSubscription,
)
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.timer import Timer

GRAPH_POLL_S = 0.25
SILENCE_S = 5.0  # after which the reason why no messages arrive is logged


@dataclass(frozen=True)
class RecordingSummary:
    """
    The state of a recording.

    :param seconds: since its start
    :param messages: written
    :param safe: written messages that survive if the process is killed now
    :param stop_reason: why it stopped by itself; empty if it continues or was stopped
    :param requested: whether the user wanted it to stop there, as after a duration
    """

    out: Path
    seconds: float
    messages: int
    safe: int
    size_bytes: int
    topics: dict[str, TopicCounts]
    stop_reason: str = ''
    requested: bool = True

    @property
    def total(self) -> TopicCounts:
        """Return the counts of all topics together."""
        counts = [astuple(each) for each in self.topics.values()]
        return TopicCounts(*map(sum, zip(*counts, strict=True)))

    def sentence(self) -> str:
        """Return the state in one line."""
        total = self.total
        parts = [f'{self.messages} messages', f'{self.size_bytes / BYTES_PER_MB:.1f} MB']
        parts += [f'{total.skipped} skipped'] if total.skipped else []
        parts += (
            [f'{total.dropped} dropped, as the disk was too full or slow'] if total.dropped else []
        )
        parts.append(f'{total.lost} lost in transit')
        return f'{self.out}: {", ".join(parts)}'


class Recorder:
    """
    Records topics of any type, each as soon as it has a publisher.

    The camera_info beside an image topic is recorded with it.

    :param node: owns the subscriptions; its executor must spin
    :param topics: names, resolved and remapped like the node's own
    :param out: bag to create
    :param log: by default the node's
    :ivar finished: event, set when recording has stopped
    :raises ConfigError: if there is no topic
    """

    def __init__(
        self,
        node: Node,
        *,
        topics: Sequence[str],
        out: Path | str,
        settings: RecorderSettings = RecorderSettings(),
        log: Log | None = None,
    ) -> None:
        if not topics:
            msg = 'No topic is given; expected at least one to record, such as /camera/image_raw.'
            raise ConfigError(msg)
        self.out = Path(os.path.expanduser(out))  # noqa: PTH111 (Path's rejects unknown users)
        self.finished = threading.Event()
        self._node = node
        self._settings = settings
        self._stop_reason = StopReason()
        self._log: Log = node.get_logger() if log is None else log
        robot = ROBOT_TOPICS if settings.robot else ()
        names = dict.fromkeys(_resolve(node, name) for name in (*topics, *robot))
        self._topics = [TopicSubscription(node, n, self._receive, self._log) for n in names]
        self._rate = RateLimit(settings.rate) if settings.rate else None
        self._queue = RecordingQueue(round(settings.queue * BYTES_PER_MB))
        self._recording: BagRecording | None = None
        self._thread: threading.Thread | None = None
        self._lock = ExitStack()
        self._timer: Timer | None = None
        self._warned: dict[str, str] = {}

    def start(self) -> None:
        """
        Create the bag and start recording; return without waiting for publishers.

        ROS can shut down anywhere in here: keep the recorder before calling this, and stop it
        whatever is raised. After the errors below it has nothing to stop.

        :raises SourceError: if the directory exists, or the disk is fuller than ``disk_floor``
        :raises OSError: if it cannot be written
        :raises ConfigError: if the library that writes MCAP is not installed
        """
        if importlib.util.find_spec('mcap') is None:
            msg = (
                f'mcap, which writes bags, is not installed for {sys.executable}; install it: '
                '`pip install mcap`.'
            )
            raise ConfigError(msg)
        settings = self._settings
        place = next((p for p in self.out.parents if p.is_dir()), Path())
        shortage = disk_shortage(place, settings.disk_floor)
        if shortage:
            raise SourceError(f'{shortage}.')
        self._sim_time = self._node.get_parameter('use_sim_time').value
        self._started = self._checked = time.monotonic()
        bag = BagWriter(
            self.out,
            compression=settings.compression,
            split_bytes=round(settings.split_size * BYTES_PER_MB),
            split_ns=round(settings.split_duration * 1e9),
        )
        self._lock.enter_context(sole_writer(self.out))
        self._recording = BagRecording(bag, self._queue, settings, self._counts, self._log.warning)
        self._thread = threading.Thread(
            target=self._write, args=[self._recording], name='recorder'
        )
        self._thread.start()
        self._poll_graph()
        for topic in self._topics:
            if not topic.listening:
                self._log.info(f'waiting for a publisher on {topic.name}')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(GRAPH_POLL_S, self._poll_graph, clock=steady)

    def stop(self) -> RecordingSummary:
        """Write all received messages and close the bag; may be called again, at any time."""
        try:
            self._stop_listening()
        finally:
            self._queue.close()
            if self._thread is not None:
                self._thread.join()
            self._lock.close()
        return self.summary()

    def summary(self) -> RecordingSummary:
        bag = None if self._recording is None else self._recording.bag
        return RecordingSummary(
            out=self.out,
            seconds=time.monotonic() - self._started if bag else 0.0,
            messages=bag.messages if bag else 0,
            safe=bag.flushed_messages if bag else 0,
            size_bytes=bag.size_bytes if bag else 0,
            topics=self._counts(),
            stop_reason=self._stop_reason.text,
            requested=self._stop_reason.requested,
        )

    def _counts(self) -> dict[str, TopicCounts]:
        return {topic.name: topic.counts for topic in self._topics}

    def _write(self, recording: BagRecording) -> None:
        """Write until the end, in a thread of its own."""
        try:
            reason = recording.run()
        except Exception as error:  # must be reported: nobody waits for this thread
            reason = StopReason(f'an internal error, which is a bug: {error!r}', requested=False)
        self._stop_reason = reason
        self._queue.close()
        self.finished.set()
        # One call for each severity: rclpy refuses a line of code that logs with two.
        if reason.text and reason.requested:
            self._log.info(f'recording ended: {reason.text}')
        elif reason.text:
            self._log.warning(f'recording ended: {reason.text}')

    def _receive(self, topic: TopicSubscription, data: bytes, info: dict[str, int]) -> None:
        """Queue a message, in the executor's thread."""
        if self._queue.closed:
            return  # recording has stopped, and the subscription soon will
        topic.counts.received += 1
        received_ns = info['received_timestamp']
        if self._sim_time or not received_ns:
            received_ns = self._node.get_clock().now().nanoseconds
        if self._rate is not None and topic.info.msgtype in IMAGE_TYPES:
            try:
                stamp_ns = read_stamp_ns(data) or received_ns
            except EncodingError:
                stamp_ns = received_ns
            if not self._rate.keeps(topic.name, stamp_ns):
                topic.counts.skipped += 1
                return
        # Both times of a message must be of the same clock.
        sent_ns = received_ns if self._sim_time else info['source_timestamp'] or received_ns
        if not self._queue.put(QueuedMessage(topic, received_ns, sent_ns, data)):
            topic.counts.dropped += 1

    def _poll_graph(self) -> None:
        """Follow the publishers, and log once why a topic is silent or incomplete."""
        if self.finished.is_set():
            self._stop_listening()
            return
        for topic in self._topics:
            topic.follow_publishers()
        self._follow_cameras()
        if time.monotonic() - self._checked < SILENCE_S:
            return
        self._checked = time.monotonic()
        for topic in self._topics:
            reason = topic.silence_reason()
            if reason and self._warned.get(topic.name) != reason:
                self._warned[topic.name] = reason
                share = 'recorded in part' if topic.counts.received else 'nothing to record'
                self._log.warning(f'{share}: {reason}')

    def _follow_cameras(self) -> None:
        """Record the camera_info that is published beside an image topic."""
        names = {topic.name for topic in self._topics}
        for images in [t for t in self._topics if t.info.msgtype in IMAGE_TYPES]:
            for name in camera_info_topics(images.name):
                if name in names:
                    break
                publishers = self._node.get_publishers_info_by_topic(name)
                if CAMERA_INFO_TYPE in (each.topic_type for each in publishers):
                    names.add(name)
                    camera = TopicSubscription(self._node, name, self._receive, self._log)
                    camera.follow_publishers()
                    self._topics.append(camera)
                    break

    def _stop_listening(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        for topic in self._topics:
            topic.close()


def _resolve(node: Node, name: str) -> str:
    """Return the fully qualified name of a topic; ConfigError if it is none."""
    try:
        return node.resolve_topic_name(name)
    except Exception as error:  # rclpy's exceptions have no common base
        msg = (
            f'{name!r} is no name of a topic; expected letters, digits and _ between slashes, '
            'such as /camera/image_raw.'
        )
        raise ConfigError(msg) from error


def dated_bag(directory: Path | str = '.') -> Path:
    """Return the path of a bag in a directory, named after the current time to the µs."""
    return Path(directory) / datetime.now().strftime('recording_%Y_%m_%d-%H_%M_%S_%f')
