"""
Records topics into a rosbag2 directory (MCAP) while a node runs.

Messages are written as they were received, byte for byte; they are only looked into for the rate
limit, the motion filter and JPEG. :mod:`keypoint_perception.ros.recorder.bag_recording` writes
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
import importlib.util
from pathlib import Path
import struct
import sys
import threading
import time

from keypoint_perception.errors import ConfigError
from keypoint_perception.frames.bag_writer import BagWriter
from keypoint_perception.ros.recorder.bag_recording import BagRecording, End
from keypoint_perception.ros.recorder.recorder_settings import BYTES_PER_MB, RecorderSettings
from keypoint_perception.ros.recorder.recording_filters import IMAGE_TYPES, RateLimit, stamp_of
from keypoint_perception.ros.recorder.recording_queue import RecordingQueue, Waiting
from keypoint_perception.ros.recorder.topic_subscription import TopicCounts, TopicSubscription
from keypoint_perception.sole_writer import sole_writer
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

LOOK_S = 0.25  # between two looks at the graph
SILENT_S = 5.0  # after which it is said why nothing arrives


@dataclass(frozen=True)
class RecordingSummary:
    """
    What a recording has become so far, or at its end.

    :param seconds: since it was started
    :param messages: written
    :param safe: of them, those that survive if the process is killed now
    :param topics: counts by topic
    :param ended: why it ended by itself; empty if it goes on or was stopped
    :param asked: whether the user wanted it to end there, as by a duration
    """

    out: Path
    seconds: float
    messages: int
    safe: int
    size_bytes: int
    topics: dict[str, TopicCounts]
    ended: str = ''
    asked: bool = True

    @property
    def dropped(self) -> int:
        """Return how many messages the disk was too slow for."""
        return sum(counts.dropped for counts in self.topics.values())

    @property
    def lost(self) -> int:
        """Return how many messages the middleware lost on the way."""
        return sum(counts.lost for counts in self.topics.values())

    @property
    def skipped(self) -> int:
        """Return how many messages were left out on purpose."""
        return sum(counts.skipped for counts in self.topics.values())

    def sentence(self) -> str:
        """Return it in one line."""
        parts = [f'{self.messages} messages', f'{self.size_bytes / BYTES_PER_MB:.1f} MB']
        for count, word in (
            (self.skipped, 'left out'),
            (self.dropped, 'dropped: not written in time'),
        ):
            if count:
                parts.append(f'{count} {word}')
        parts.append(f'{self.lost} lost on the way')
        return f'{self.out}: {", ".join(parts)}'


class Recorder:
    """
    Records topics, whatever their types, each from the moment it has a publisher.

    :param node: receives; its executor has to spin
    :param topics: names, resolved and remapped as the node's own
    :param out: directory to make; it becomes the bag
    :param on_end: called in the recorder's own thread when it has ended by itself or was stopped
    :param log: logger with ``info`` and ``warning``; by default the node's
    :param finished: event that is set when it has ended
    :raises ConfigError: if no topic is named
    """

    def __init__(
        self,
        node: Node,
        *,
        topics: Sequence[str],
        out: Path | str,
        settings: RecorderSettings = RecorderSettings(),
        on_end: Callable[[RecordingSummary], None] | None = None,
        log=None,
    ) -> None:
        if not topics:
            msg = 'No topic is named; expected at least one to record, as /camera/image_raw.'
            raise ConfigError(msg)
        self.out = Path(out).expanduser()
        self.finished = threading.Event()
        self._node = node
        self._settings = settings
        self._on_end = on_end
        self._end = End()
        self._log = node.get_logger() if log is None else log
        names = dict.fromkeys(node.resolve_topic_name(name) for name in topics)
        self._topics = [TopicSubscription(node, n, self._receive, self._log) for n in names]
        self._rate = RateLimit(settings.rate) if settings.rate else None
        self._queue = RecordingQueue(round(settings.queue * BYTES_PER_MB))
        self._recording: BagRecording | None = None
        self._thread: threading.Thread | None = None
        self._lock = ExitStack()
        self._timer = None
        self._said: dict[str, str] = {}

    def start(self) -> None:
        """
        Create the bag and start recording; return without waiting for publishers.

        ROS can shut down anywhere in here: keep the recorder before calling this, and stop it
        whatever is raised. After the errors below it has nothing to stop.

        :raises SourceError: if the directory exists
        :raises OSError: if it cannot be written
        :raises ConfigError: if the library that writes MCAP is not installed
        """
        if importlib.util.find_spec('mcap') is None:
            msg = (
                f'mcap, which writes the bags, is not found by {sys.executable}; install it: '
                '`pip install mcap`.'
            )
            raise ConfigError(msg)
        settings = self._settings
        self._sim_time = self._node.get_parameter('use_sim_time').value
        self._started = self._looked = time.monotonic()
        bag = BagWriter(
            self.out,
            compression=settings.compression,
            split_bytes=round(settings.split_size * BYTES_PER_MB),
            split_ns=round(settings.split_duration * 1e9),
        )
        self._lock.enter_context(sole_writer(self.out))
        self._recording = BagRecording(bag, self._queue, settings, self._counts, self._log.warning)
        self._thread = threading.Thread(target=self._write, name='recorder')
        self._thread.start()
        self._look()
        for topic in self._topics:
            if not topic.listening:
                self._log.info(f'waiting for a publisher on {topic.name}')
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(LOOK_S, self._look, clock=steady)

    def stop(self) -> RecordingSummary:
        """
        Write what waits, close the bag and return what it has become.

        It may be called again, and after the recording has ended by itself.
        """
        try:
            self._stop_listening()
        finally:
            self._queue.close()
            if self._thread is not None:
                self._thread.join()
            self._lock.close()
        return self.summary()

    def summary(self) -> RecordingSummary:
        """Return how far the recording is."""
        bag = None if self._recording is None else self._recording.bag
        return RecordingSummary(
            out=self.out,
            seconds=time.monotonic() - self._started if bag else 0.0,
            messages=bag.messages if bag else 0,
            safe=bag.flushed_messages if bag else 0,
            size_bytes=bag.size_bytes if bag else 0,
            topics=self._counts(),
            ended=self._end.reason,
            asked=self._end.asked,
        )

    def _counts(self) -> dict[str, TopicCounts]:
        return {topic.name: topic.counts for topic in self._topics}

    def _write(self) -> None:
        """Write until the end, in a thread of its own."""
        try:
            self._end = self._recording.run()
        except Exception as error:  # a fault of ours must not look like a recording that goes on
            self._end = End(f'an internal error, which is a bug: {error!r}', asked=False)
        finally:
            self._queue.close()
            self.finished.set()
        if self._end.reason:
            # a line for each: rclpy raises where one line of code speaks with two severities
            if self._end.asked:
                self._log.info(f'recording ended: {self._end.reason}')
            else:
                self._log.warning(f'recording ended: {self._end.reason}')
        if self._on_end is not None:
            self._on_end(self.summary())

    def _receive(self, topic: TopicSubscription, data: bytes, info: dict) -> None:
        """Pass a message on, in the executor's thread."""
        if self._queue.closed:
            return  # the recording has ended, the subscription soon will
        topic.counts.received += 1
        received_ns = info['received_timestamp']
        if self._sim_time or not received_ns:
            received_ns = self._node.get_clock().now().nanoseconds
        if self._rate is not None and topic.origin.msgtype in IMAGE_TYPES:
            try:
                stamp_ns = stamp_of(data) or received_ns
            except struct.error:
                stamp_ns = received_ns
            if not self._rate.keeps(topic.name, stamp_ns):
                topic.counts.skipped += 1
                return
        # Both times of a message are of one clock.
        sent_ns = received_ns if self._sim_time else info['source_timestamp'] or received_ns
        if not self._queue.put(Waiting(topic, received_ns, sent_ns, data)):
            topic.counts.dropped += 1

    def _look(self) -> None:
        """Follow the publishers; say once why a topic is silent."""
        if self.finished.is_set():
            self._stop_listening()
            return
        for topic in self._topics:
            topic.follow_publishers()
        if time.monotonic() - self._looked < SILENT_S:
            return
        self._looked = time.monotonic()
        for topic in self._topics:
            if topic.counts.received:
                continue
            obstacle = topic.obstacle()
            if self._said.get(topic.name) != obstacle:
                self._said[topic.name] = obstacle
                self._log.warning(f'nothing to record: {obstacle}')

    def _stop_listening(self) -> None:
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        for topic in self._topics:
            topic.close()


def dated_bag(directory: Path | str = '.') -> Path:
    """Return a path in a directory for a bag that is named after the present moment."""
    return Path(directory).expanduser() / datetime.now().strftime('recording_%Y_%m_%d-%H_%M_%S')
