"""
Writing of rosbag2 directories of MCAP files that stay readable if the process is killed.

``metadata.yaml`` exists from the start and is replaced in one step, and the files are valid after
each flush (:mod:`keypoint_perception.frames.mcap_file`).
"""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import threading
from typing import Any

from keypoint_perception.atomic_files import replace_file
from keypoint_perception.errors import SourceError
from keypoint_perception.frames.mcap_file import dump_yaml, McapFile, RecordedTopic

METADATA_NAME = 'metadata.yaml'
NEVER_NS = 2**63 - 1  # rosbag2's starting time of a bag without messages


@dataclass
class _Span:
    """Number and times of the messages in one file or all."""

    messages: int = 0
    first_ns: int = NEVER_NS
    last_ns: int = 0

    def add(self, log_ns: int) -> None:
        self.messages += 1
        self.first_ns = min(self.first_ns, log_ns)
        self.last_ns = max(self.last_ns, log_ns)

    def information(self) -> dict[str, Any]:
        duration_ns = max(0, self.last_ns - self.first_ns) if self.messages else 0
        return {
            'duration': {'nanoseconds': duration_ns},
            'starting_time': {'nanoseconds_since_epoch': self.first_ns},
            'message_count': self.messages,
        }


class BagWriter:
    """
    A new bag, whose ``metadata.yaml`` counts what would survive the end of the process.

    :param path: directory to create
    :param compression: of the MCAP chunks: ``none`` or ``zstd``
    :param split_bytes: largest size of a file, after which the next is started; 0: no limit
    :param split_ns: longest duration of a file; 0: no limit
    :raises SourceError: if the directory exists
    :raises OSError: if it cannot be written; so does every method
    """

    def __init__(
        self, path: Path, *, compression: str = 'none', split_bytes: int = 0, split_ns: int = 0
    ) -> None:
        self.path = path
        self._compression = compression
        self._split_bytes, self._split_ns = split_bytes, split_ns
        self._topics: list[RecordedTopic] = []
        self._channels: list[int] = []
        self._counts: list[int] = []
        self._files: list[tuple[str, _Span]] = []
        self._total = _Span()
        self._pending: list[tuple[int, int]] = []  # topic and time of what is not flushed
        self._closed_bytes = 0
        self.custom_data: dict[str, str] = {}
        # Several threads may write the metadata; older must never replace newer.
        self._lock = threading.RLock()
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            msg = (
                f'{str(path)!r} exists already and bags are not overwritten; remove it, or choose '
                'another directory.'
            )
            raise SourceError(msg) from error
        try:
            self._file = self._next_file()
            self.write_metadata()
        except OSError:
            shutil.rmtree(path, ignore_errors=True)  # or the next attempt would find it
            raise

    @property
    def messages(self) -> int:
        """Return the number of messages written."""
        return self._total.messages + len(self._pending)

    @property
    def flushed_messages(self) -> int:
        """Return the number of messages that would survive the end of the process."""
        return self._total.messages

    @property
    def size_bytes(self) -> int:
        """Return the total size of the files."""
        return self._closed_bytes + self._file.size_bytes

    @property
    def waiting_bytes(self) -> int:
        """Return the size of the next flush, before compression."""
        return self._file.waiting_bytes

    def add_topic(self, topic: RecordedTopic) -> int:
        """Add a topic; return the index for its messages."""
        with self._lock:
            self._channels.append(self._file.add_topic(topic))
            self._topics.append(topic)
            self._counts.append(0)
            self.write_metadata()
            return len(self._topics) - 1

    def write(self, topic: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        """
        Write a serialised message.

        :param topic: index from :meth:`add_topic`
        :param log_ns: when it was received
        :param publish_ns: when it was published
        """
        if self._is_full(log_ns, len(data)):
            self._split()
        self._file.write(self._channels[topic], self.messages % 2**32, log_ns, publish_ns, data)
        self._pending.append((topic, log_ns))
        if not self._file.waiting_bytes:
            self._count_flushed()

    def flush(self) -> None:
        """Write everything to the file: it survives the end of the process."""
        self._file.flush()
        self._count_flushed()

    def _count_flushed(self) -> None:
        with self._lock:
            for topic, log_ns in self._pending:
                self._counts[topic] += 1
                self._files[-1][1].add(log_ns)
                self._total.add(log_ns)
            self._pending.clear()

    def sync_handle(self) -> int:
        """Return a file descriptor for syncing, which the caller closes."""
        return self._file.duplicate_handle()

    def close(self) -> None:
        """Write the index and the final counts, and sync them to disk."""
        self._close_file()
        self.write_metadata()

    def abandon(self) -> list[int]:
        """
        Close without flushing or an index, as after a full disk; call :meth:`write_metadata` then.

        :return: the topic of each message that was not flushed and is lost
        """
        lost = [topic for topic, _ in self._pending]
        self._pending.clear()
        self._file.abandon()
        return lost

    def _is_full(self, log_ns: int, more: int) -> bool:
        first_ns = min([self._files[-1][1].first_ns, *(ns for _, ns in self._pending[:1])])
        too_large = 0 < self._split_bytes < self._file.size_bytes + more
        too_long = 0 < self._split_ns <= log_ns - first_ns
        return first_ns != NEVER_NS and (too_large or too_long)

    def _split(self) -> None:
        self._close_file()
        with self._lock:
            closed_bytes = self._file.size_bytes
            self._file = self._next_file()
            self._closed_bytes += closed_bytes
            self._channels = [self._file.add_topic(topic) for topic in self._topics]
            self.write_metadata()

    def _next_file(self) -> McapFile:
        stem = self.path.resolve().name.encode(errors='replace').decode()  # as YAML can hold it
        name = f'{stem}_{len(self._files)}.mcap'
        file = McapFile(self.path / name, compression=self._compression)
        self._files.append((name, _Span()))
        return file

    def _close_file(self) -> None:
        self.flush()
        handle = self._file.duplicate_handle()
        try:
            self._file.close(dump_yaml(self._information()))
            os.fdatasync(handle)
        finally:
            os.close(handle)

    def write_metadata(self) -> None:
        """Replace ``metadata.yaml`` in one step; thread-safe."""
        with self._lock:
            text = dump_yaml({'rosbag2_bagfile_information': self._information()})
            replace_file(self.path / METADATA_NAME, text, durable=True)

    def _information(self) -> dict[str, Any]:
        """Return the content of ``metadata.yaml`` as rosbag2 writes it."""
        topics = [
            {
                'topic_metadata': {
                    'name': topic.name,
                    'type': topic.msgtype,
                    'serialization_format': 'cdr',
                    'offered_qos_profiles': topic.qos,
                    'type_description_hash': topic.type_hash,
                },
                'message_count': count,
            }
            for topic, count in zip(self._topics, self._counts, strict=True)
        ]
        return {
            'version': 9,  # that of Jazzy
            'storage_identifier': 'mcap',
            **self._total.information(),
            'topics_with_message_count': topics,
            'compression_format': '',
            'compression_mode': '',
            'relative_file_paths': [name for name, _ in self._files],
            'files': [{'path': name, **span.information()} for name, span in self._files],
            'custom_data': self.custom_data or None,
            'ros_distro': os.environ.get('ROS_DISTRO', 'jazzy'),
        }
