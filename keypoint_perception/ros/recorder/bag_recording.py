"""
Takes messages from the queue, filters them, and writes them to the bag.

Everything here runs in a thread of its own, so that neither the disk nor JPEG encoding delays
reception. Data is handed to the operating system with every chunk and at least every
:data:`FLUSH_S` seconds, which bounds the loss when the process is killed; it is forced onto the
disk every :data:`SYNC_S` seconds, which bounds the loss when power fails.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import time

from keypoint_perception.cdr import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE, IMAGE_TYPES
from keypoint_perception.errors import EncodingError
from keypoint_perception.frames.bag_writer import BagWriter
from keypoint_perception.frames.mcap_file import RecordedTopic
from keypoint_perception.ros.message_definitions import message_definition
from keypoint_perception.ros.recorder.recorder_settings import BYTES_PER_MB, RecorderSettings
from keypoint_perception.ros.recorder.recording_filters import MotionGate, to_jpeg
from keypoint_perception.ros.recorder.recording_queue import QueuedMessage, RecordingQueue
from keypoint_perception.ros.recorder.topic_subscription import TopicCounts
from keypoint_perception.seen_messages import SeenMessages

FLUSH_S = 1.0
SYNC_S = 5.0
POLL_S = 0.2


@dataclass(frozen=True)
class StopReason:
    """
    Why a recording stopped.

    :param text: empty if the user stopped it
    :param requested: whether the user wanted it to stop there; the bag is complete then
    """

    text: str = ''
    requested: bool = True


class BagRecording:
    """
    Writes a bag until the queue is exhausted or a limit is reached.

    :param bag: still empty
    :param counts: returns the counts by topic, which are stored in the bag
    :param warn: passes a sentence to the user
    """

    def __init__(
        self,
        bag: BagWriter,
        queue: RecordingQueue,
        settings: RecorderSettings,
        counts: Callable[[], dict[str, TopicCounts]],
        warn: Callable[[str], object],
    ) -> None:
        self.bag = bag
        self._queue = queue
        self._settings = settings
        self._counts = counts
        self._warn = warn
        context_ns = round(settings.motion_context * 1e9)
        self._gate = MotionGate(settings.motion_threshold, context_ns)
        self._kept: deque[QueuedMessage] = deque()  # taken from the queue, not written yet
        self._sources: list[TopicCounts] = []  # of the bag's topics
        self._channels: dict[tuple[str, str], int] = {}
        self._first: tuple[int, float] | None = None
        self._logged = SeenMessages()
        self._flushed_at = self._synced_at = time.monotonic()
        self._syncer = ThreadPoolExecutor(1, thread_name_prefix='recorder_sync')
        self._sync: Future[None] | None = None

    def run(self) -> StopReason:
        """Write until the queue is exhausted or a limit is reached, then close the bag."""
        try:
            reason = self._write_all()
        except OSError as error:
            return self._abandon(error)
        except Exception:
            self._discard(requested=False)
            self._close()  # a bug must not cost what was already written
            raise
        finally:
            self._queue.close()
        return self._close() or reason

    def _write_all(self) -> StopReason:
        while not self._queue.exhausted:
            item = self._queue.take(POLL_S)
            reason = self._reached_limit(item)
            if reason is not None:
                self._kept.extend([] if item is None else [item])
                self._discard(requested=reason.requested)
                return reason
            self._kept.extend([] if item is None else self._select(item))
            while self._kept:
                self._write(self._kept[0])
                self._kept.popleft()
            self._flush_when_due()
        self._discard(requested=True)
        return StopReason()

    def _discard(self, *, requested: bool) -> None:
        """Count the messages that arrived and will not be written."""
        self._queue.close()
        for pending in self._gate.pending():
            pending.topic.counts.skipped += 1
        while (item := self._kept.popleft() if self._kept else self._queue.take(0)) is not None:
            item.topic.counts.skipped += requested
            item.topic.counts.dropped += not requested

    def _reached_limit(self, item: QueuedMessage | None) -> StopReason | None:
        """Return why recording stops before a message; None if it continues."""
        settings = self._settings
        if settings.max_messages and self.bag.messages >= settings.max_messages:
            return StopReason(f'{settings.max_messages} messages were recorded (max_messages)')
        if settings.duration and self._elapsed_s(item) >= settings.duration:
            return StopReason(f'{settings.duration:g} s were recorded (duration)')
        pending_bytes = self.bag.waiting_bytes + (0 if item is None else len(item.data))
        shortage = disk_shortage(self.bag.path, settings.disk_floor, pending_bytes)
        return StopReason(shortage, requested=False) if shortage else None

    def _elapsed_s(self, item: QueuedMessage | None) -> float:
        """Return the time since the first message, by the messages' clock where there is one."""
        if self._first is None:
            if item is not None:
                self._first = item.log_ns, time.monotonic()
            return 0.0
        log_ns, started = self._first
        return time.monotonic() - started if item is None else (item.log_ns - log_ns) / 1e9

    def _select(self, item: QueuedMessage) -> list[QueuedMessage]:
        """Return the messages to write after the arrival of one."""
        if not self._settings.only_motion or item.topic.info.msgtype not in IMAGE_TYPES:
            return [item]
        try:
            kept, rejected = self._gate.admit(item)
        except EncodingError as error:
            name = item.topic.name
            self._warn_once(f'{name}: {error} It is recorded without a motion check', subject=name)
            return [item]
        for each in rejected:
            each.topic.counts.skipped += 1
        return kept

    def _write(self, item: QueuedMessage) -> None:
        topic = item.topic
        name, msgtype, data = topic.name, topic.info.msgtype, item.data
        if self._settings.jpeg and msgtype == IMAGE_TYPE:
            jpeg = self._encode(item)
            if jpeg is not None:
                name, msgtype, data = f'{name}/compressed', COMPRESSED_IMAGE_TYPE, jpeg
        channel = self._channels.get((name, msgtype))
        if channel is None:
            channel = self._channels[name, msgtype] = self._add_topic(item, name, msgtype)
        self.bag.write(channel, item.log_ns, item.publish_ns, data)
        topic.counts.written += 1

    def _encode(self, item: QueuedMessage) -> bytes | None:
        name = item.topic.name
        try:
            jpeg = to_jpeg(item.data, self._settings.jpeg)
        except EncodingError as error:
            self._warn_once(f'{name}: {error} It is recorded as received', subject=name)
            return None
        if jpeg is None:
            self._warn_once(
                f'{name} has more than 8 bits a channel and is recorded without JPEG',
                subject=name,
            )
        return jpeg

    def _add_topic(self, item: QueuedMessage, name: str, msgtype: str) -> int:
        info = item.topic.info
        self._sources.append(item.topic.counts)
        definition = message_definition(msgtype)
        if not definition:
            self._warn_once(
                f'the definition of {msgtype} is not installed; the bag does not include it',
                subject=msgtype,
            )
        type_hash = info.type_hash if msgtype == info.msgtype else ''
        return self.bag.add_topic(RecordedTopic(name, msgtype, definition, type_hash, info.qos))

    def _flush_when_due(self) -> None:
        now = time.monotonic()
        if now - self._flushed_at >= FLUSH_S:
            self._flushed_at = now
            self.bag.flush()
        if now - self._synced_at >= SYNC_S and (self._sync is None or self._sync.done()):
            self._synced_at = now
            self._store_counts()
            self._sync = self._syncer.submit(self._sync_to_disk, self.bag.sync_handle())

    def _sync_to_disk(self, handle: int) -> None:
        """Force written data onto the disk; runs in a thread of its own, as it can be slow."""
        try:
            os.fdatasync(handle)
            self.bag.write_metadata()
        except OSError as error:
            self._warn_once(f'the disk does not confirm written data ({error.strerror})')
        finally:
            os.close(handle)

    def _store_counts(self) -> None:
        """Store in the bag how many messages of each topic it lacks."""
        for name, counts in self._counts().items():
            values = {n: getattr(counts, n) for n in ('received', 'skipped', 'dropped', 'lost')}
            self.bag.custom_data[f'keypoint_perception {name}'] = json.dumps(values)

    def _close(self) -> StopReason | None:
        self._syncer.shutdown(wait=True)
        self._store_counts()
        try:
            self.bag.close()
        except OSError as error:
            return self._abandon(error)
        return None

    def _abandon(self, error: OSError) -> StopReason:
        self._discard(requested=False)
        for topic in self.bag.abandon():
            self._sources[topic].written -= 1
            self._sources[topic].dropped += 1
        self._syncer.shutdown(wait=True)
        self._store_counts()
        stale = ''
        try:
            self.bag.write_metadata()
        except OSError:
            stale = ' (the counts in its metadata.yaml are older)'
        if not self.bag.path.exists():
            text = (
                f'{str(self.bag.path)!r} was removed while it was being recorded; start again, '
                'and leave it in place'
            )
            return StopReason(text, requested=False)
        text = (
            f'the bag {str(self.bag.path)!r} cannot be written any further: {error.strerror}; '
            f'what was written until then can be read{stale}; free some space, or record to '
            'another disk'
        )
        return StopReason(text, requested=False)

    def _warn_once(self, sentence: str, *, subject: str = '') -> None:
        if self._logged.is_new(sentence, subject=subject):
            self._warn(sentence + '.')


def disk_shortage(path: Path, floor_mb: float, pending_bytes: int = 0) -> str:
    """Return a sentence without its full stop if a disk is fuller than allowed, else nothing."""
    free_mb = (shutil.disk_usage(path).free - pending_bytes) / BYTES_PER_MB
    if not floor_mb or free_mb >= floor_mb:
        return ''
    return (
        f'the disk of {str(path)!r} has {free_mb:.0f} MB left, less than disk_floor '
        f'({floor_mb:g} MB); free some space, or record to another disk'
    )
