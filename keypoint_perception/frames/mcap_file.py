"""
MCAP files that are valid whenever their writer is killed.

The format (https://mcap.dev/spec) requires an end mark, and readers such as rosbags refuse a file
without one. Therefore the file always has one, though not the index that :meth:`McapFile.close`
adds, and grows in four steps:

1. write a second end mark, leaving room for the new records before it,
2. turn the old end mark and the room into one record of a private kind, which readers skip,
3. write the new records into it, except the header of the first,
4. write that header, which turns the private record into the new ones.

All but the third are writes of a few bytes. A reader may refuse the file only if the process is
killed between the first two, and even then nothing is lost
(:mod:`keypoint_perception.frames.salvage.mcap_salvage`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
import os
from pathlib import Path
import struct
from typing import Any, cast, IO

MAGIC = b'\x89MCAP0\r\n'
# Data end (no checksum) and footer (neither summary nor checksum), each after kind and length.
END_MARK = struct.pack('<BQI', 0x0F, 4, 0) + struct.pack('<BQQQI', 0x02, 20, 0, 0, 0) + MAGIC
# A chunk is the unit of loss, of compression and of the index.
CHUNK_BYTES = 4 << 20
HEADER_BYTES = 9  # of a record: its kind and its length
CLOSED = -1  # not a file descriptor
PRIVATE_KIND = 0x80
MAX_PIECES = 512  # of one write; the kernel's limit is 1,024


@dataclass(frozen=True)
class RecordedTopic:
    """
    A topic's metadata in a bag.

    :param msgtype: as ``sensor_msgs/msg/Image``
    :param definition: text of the type and its dependencies as in rosbag2; may be empty
    :param type_hash: as ``RIHS01_...``; may be empty
    :param qos: profiles that the publishers offer, with rosbag2's keys
    """

    name: str
    msgtype: str
    definition: str = ''
    type_hash: str = ''
    qos: list[dict[str, Any]] = field(default_factory=list)


class McapFile:
    """
    One MCAP file as rosbag2 writes it.

    ``waiting_bytes``, before compression, would be lost if the process were killed now.

    :param compression: of the chunks: ``none`` or ``zstd``
    :raises OSError: if it exists, or the disk is full; so does every method, and the file is then
        valid up to the last successful flush
    """

    def __init__(self, path: Path, *, compression: str = 'none') -> None:
        from mcap.writer import CompressionType, Writer

        self.path = path
        self._stream = _ValidStream(path)
        self._writer = Writer(
            cast('IO[bytes]', self._stream),
            chunk_size=CHUNK_BYTES,
            compression=CompressionType[compression.upper()],
        )
        self._writer.start(profile='ros2', library='keypoint_perception')
        self._stream.flush()
        self._schemas: dict[str, int] = {}
        self.waiting_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Return the size on disk after the next flush, before compression."""
        return self._stream.tell() + self.waiting_bytes

    def add_topic(self, topic: RecordedTopic) -> int:
        """Add a topic; return the channel for its messages."""
        if topic.msgtype not in self._schemas:
            encoding = 'ros2msg' if topic.definition else ''
            self._schemas[topic.msgtype] = self._writer.register_schema(
                topic.msgtype, encoding, topic.definition.encode()
            )
        qos, schema = dump_yaml(topic.qos).strip(), self._schemas[topic.msgtype]
        about = {'offered_qos_profiles': qos, 'topic_type_hash': topic.type_hash}
        return self._writer.register_channel(topic.name, 'cdr', schema, about)

    def write(
        self, channel: int, sequence: int, log_ns: int, publish_ns: int, data: bytes
    ) -> None:
        """Add a serialised message, which is flushed with its chunk."""
        self._writer.add_message(channel, log_ns, data, publish_ns, sequence)
        self.waiting_bytes += len(data)
        if self._stream.pending:  # the library has finished a chunk
            self._stream.flush()
            self.waiting_bytes = 0

    def flush(self) -> None:
        """Write everything to the file: it survives the end of the process."""
        self._writer.flush()
        self.waiting_bytes = 0

    def duplicate_handle(self) -> int:
        """Return a file descriptor for syncing, which the caller closes."""
        return os.dup(self._stream.handle)

    def close(self, metadata: str) -> None:
        """Write the index and the text of ``metadata.yaml``, as rosbag2 does, and close."""
        try:
            self.flush()
            self._writer.add_metadata('rosbag2', {'serialized_metadata': metadata})
            self._writer.finish()
            self._stream.finish()
        finally:
            self._stream.close()

    def abandon(self) -> None:
        """Close without writing anything, as after a full disk."""
        self.waiting_bytes = 0
        self._stream.close()


class _ValidStream:
    """
    The stream that the MCAP library writes to; the file ends with an end mark after each flush.

    :param pending: bytes to write in the next flush
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._path, self.handle = path, os.open(path, flags, 0o644)
        self._end = 0
        self._pieces: list[bytes] = []
        self.pending = 0

    def write(self, data: bytes) -> int:
        """Accept complete records."""
        if data:  # the library also writes nothing
            self._pieces.append(data)
        self.pending += len(data)
        return len(data)

    def tell(self) -> int:
        """Return the offset of the next record."""
        return self._end + self.pending

    def flush(self) -> None:
        """Write the pending records and an end mark."""
        if not self.pending:
            return
        pieces, end, handle = self._pieces, self._end, self.handle
        new_end = end + self.pending
        self._pieces, self.pending = [], 0
        with self._restored_on_failure():
            if not end:
                write_at(handle, [*pieces, END_MARK], 0)
            else:
                first = memoryview(pieces[0])
                skipped = struct.pack('<BQ', PRIVATE_KIND, new_end - end - HEADER_BYTES)
                write_at(handle, [END_MARK], new_end)
                write_at(handle, [skipped], end)
                write_at(handle, [first[HEADER_BYTES:], *pieces[1:]], end + HEADER_BYTES)
                write_at(handle, [first[:HEADER_BYTES]], end)
        self._end = new_end

    def finish(self) -> None:
        """Write the pending records, which include an end mark."""
        pieces, new_end = self._pieces, self._end + self.pending
        self._pieces, self.pending = [], 0
        with self._restored_on_failure():
            write_at(self.handle, pieces, self._end)
            os.ftruncate(self.handle, new_end)
        self._end = new_end

    @contextmanager
    def _restored_on_failure(self) -> Iterator[None]:
        """Restore the file as it was before, as when the disk is full."""
        try:
            yield
        except OSError:
            if self._end:
                # overwriting the last end mark takes no space
                write_at(self.handle, [END_MARK], self._end)
                os.ftruncate(self.handle, self._end + len(END_MARK))
            else:
                self.close()
                self._path.unlink()
            raise

    def close(self) -> None:
        """Close the file once: its descriptor may be reused afterwards."""
        handle, self.handle = self.handle, CLOSED
        if handle != CLOSED:
            os.close(handle)


def dump_yaml(values: object) -> str:
    """Return values as YAML in their order, without anchors for repeated ones."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

    return yaml.dump(values, Dumper=Plain, sort_keys=False)


def write_at(handle: int, pieces: Sequence[bytes | memoryview], offset: int) -> None:
    """Write all pieces in sequence without joining them first."""
    left = [memoryview(piece) for piece in pieces if len(piece)]
    while left:
        written = os.pwritev(handle, left[:MAX_PIECES], offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
