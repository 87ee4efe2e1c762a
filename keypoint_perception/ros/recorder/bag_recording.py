"""
A recording that goes on: takes messages from the queue, filters them, writes the bag.

Everything here runs in one thread of its own, so that neither the disk nor JPEG holds up what
receives. What is written is handed to the operating system with every chunk and at least every
:data:`FLUSH_S` seconds, which is what a killed process can lose; it is forced onto the disk every
:data:`SYNC_S` seconds, which is what a loss of power can.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
import json
import os
import shutil
import time

from keypoint_perception.errors import EncodingError
from keypoint_perception.frames.bag_writer import BagWriter
from keypoint_perception.frames.mcap_file import RecordedTopic
from keypoint_perception.ros.message_definitions import message_definition
from keypoint_perception.ros.recorder.recorder_settings import BYTES_PER_MB, RecorderSettings
from keypoint_perception.ros.recorder.recording_filters import (
    COMPRESSED_TYPE,
    IMAGE_TYPES,
    MotionGate,
    RAW_TYPE,
    to_jpeg,
)
from keypoint_perception.ros.recorder.recording_queue import RecordingQueue, Waiting
from keypoint_perception.ros.recorder.topic_subscription import TopicCounts

FLUSH_S = 1.0
SYNC_S = 5.0
POLL_S = 0.2


@dataclass(frozen=True)
class End:
    """
    Why a recording ended.

    :param reason: empty if it was stopped
    :param asked: whether the user wanted it to end there; the bag lacks nothing then
    """

    reason: str = ''
    asked: bool = True


class BagRecording:
    """
    Writes a bag until the queue ends or a limit is reached.

    :param bag: empty yet
    :param counts: of each topic by its name, for the bag's own record of what is missing
    :param warn: says a sentence to the user
    """

    def __init__(
        self,
        bag: BagWriter,
        queue: RecordingQueue,
        settings: RecorderSettings,
        counts: Callable[[], dict[str, TopicCounts]],
        warn: Callable[[str], None],
    ) -> None:
        self.bag = bag
        self._queue = queue
        self._settings = settings
        self._counts = counts
        self._warn = warn
        context_ns = round(settings.motion_context * 1e9)
        self._gate = MotionGate(settings.motion_threshold, context_ns)
        self._written_as: dict[tuple[str, str], int] = {}
        self._first: tuple[int, float] | None = None
        self._said: set[str] = set()
        self._flushed_at = self._synced_at = time.monotonic()
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix='recorder_sync')
        self._sync: Future | None = None

    def run(self) -> End:
        """Write until the queue is closed or a limit is reached; the bag is closed then."""
        try:
            end = self._write_all()
        except OSError as error:
            end = self._abandon(error)
        except Exception:
            self._close()  # a bug must not cost what has come
            self._queue.close()
            raise
        else:
            end = self._close() or end
        self._queue.close()
        return end

    def _write_all(self) -> End:
        while not self._queue.exhausted:
            item = self._queue.take(POLL_S)
            end = self._limit(item)
            if end is not None:
                self._leave(item, end)
                return end
            if item is not None:
                for kept in self._chosen(item):
                    self._write(kept)
            self._flush_in_time()
        self._leave(None, End())
        return End()

    def _leave(self, item: Waiting | None, end: End) -> None:
        """Count what has come and is not written any more."""
        self._queue.close()
        for still in self._gate.left():
            still.topic.counts.skipped += 1
        while item is not None:
            counts = item.topic.counts
            if end.asked:
                counts.skipped += 1
            else:
                counts.dropped += 1
            item = self._queue.take(0)

    def _limit(self, item: Waiting | None) -> End | None:
        """Return why recording ends before a message, if it does."""
        settings = self._settings
        if settings.max_messages and self.bag.messages >= settings.max_messages:
            return End(f'{settings.max_messages} messages are recorded (max_messages)')
        if settings.duration and self._seconds(item) >= settings.duration:
            return End(f'{settings.duration:g} s are recorded (duration)')
        floor = settings.disk_floor * BYTES_PER_MB
        coming = self.bag.waiting_bytes + (0 if item is None else len(item.data))
        free = shutil.disk_usage(self.bag.path).free - coming
        if floor and free < floor:
            reason = (
                f'the disk of {str(self.bag.path)!r} has {free / BYTES_PER_MB:.0f} MB left, less '
                f'than disk_floor ({settings.disk_floor:g} MB); free some space, or record to '
                'another disk'
            )
            return End(reason, asked=False)
        return None

    def _seconds(self, item: Waiting | None) -> float:
        """Return the time since the first message, by the bag's clock; in silence by ours."""
        if self._first is None:
            if item is not None:
                self._first = item.log_ns, time.monotonic()
            return 0.0
        log_ns, at = self._first
        return time.monotonic() - at if item is None else (item.log_ns - log_ns) / 1e9

    def _chosen(self, item: Waiting) -> list[Waiting]:
        """Return what is to be written now that a message has come."""
        if not self._settings.only_motion or item.topic.origin.msgtype not in IMAGE_TYPES:
            return [item]
        try:
            kept, gone = self._gate.admit(item)
        except EncodingError as error:
            self._say_once(f'{item.topic.name}: {error} It is recorded unseen')
            return [item]
        for left in gone:
            left.topic.counts.skipped += 1
        return kept

    def _write(self, item: Waiting) -> None:
        topic = item.topic
        name, msgtype, data = topic.name, topic.origin.msgtype, item.data
        if self._settings.jpeg and msgtype == RAW_TYPE:
            packed = self._jpeg(item)
            if packed is not None:
                name, msgtype, data = f'{name}/compressed', COMPRESSED_TYPE, packed
        number = self._written_as.get((name, msgtype))
        if number is None:
            number = self._add_topic(item, name, msgtype)
        self.bag.write(number, item.log_ns, item.publish_ns, data)
        topic.counts.written += 1

    def _jpeg(self, item: Waiting) -> bytes | None:
        name = item.topic.name
        try:
            packed = to_jpeg(item.data, self._settings.jpeg)
        except EncodingError as error:
            self._say_once(f'{name}: {error} It is recorded as it is')
            return None
        if packed is None:
            self._say_once(f'{name}: has more than 8 bits a channel, which JPEG loses: stays raw')
        return packed

    def _add_topic(self, item: Waiting, name: str, msgtype: str) -> int:
        origin = item.topic.origin
        definition = message_definition(msgtype)
        if not definition:
            self._say_once(f'the text of {msgtype} is not installed: the bag goes without')
        type_hash = origin.type_hash if msgtype == origin.msgtype else ''
        topic = RecordedTopic(name, msgtype, definition, type_hash, origin.qos)
        number = self.bag.add_topic(topic)
        self._written_as[name, msgtype] = number
        return number

    def _flush_in_time(self) -> None:
        now = time.monotonic()
        if now - self._flushed_at >= FLUSH_S:
            self._flushed_at = now
            self.bag.flush()
        if now - self._synced_at >= SYNC_S and (self._sync is None or self._sync.done()):
            self._synced_at = now
            self._note_missing()
            self._sync = self._syncer.submit(self._sync_now, self.bag.sync_handle())

    def _sync_now(self, handle: int) -> None:
        """Force what is written onto the disk; in a thread of its own, for it can take long."""
        try:
            os.fdatasync(handle)
            self.bag.write_metadata()
        except OSError as error:
            self._say_once(f'the disk does not confirm what was written ({error.strerror})')
        finally:
            os.close(handle)

    def _note_missing(self) -> None:
        """Keep in the bag what is not in it."""
        for name, counts in self._counts().items():
            told = {
                'received': counts.received,
                'skipped': counts.skipped,
                'dropped': counts.dropped,
                'lost': counts.lost,
            }
            self.bag.custom_data[f'keypoint_perception {name}'] = json.dumps(told)

    def _close(self) -> End | None:
        self._syncer.shutdown(wait=True)
        self._note_missing()
        try:
            self.bag.close()
        except OSError as error:
            return self._abandon(error)
        return None

    def _abandon(self, error: OSError) -> End:
        self._syncer.shutdown(wait=True)
        self._note_missing()
        try:
            self.bag.abandon()
            older = ''
        except OSError:
            older = ' (the counts in its metadata.yaml are older)'
        reason = (
            f'the bag {str(self.bag.path)!r} cannot be written any further: {error.strerror}; '
            f'what was written until then can be read{older}; free some space, or record to '
            'another disk'
        )
        return End(reason, asked=False)

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._warn(sentence + '.')
