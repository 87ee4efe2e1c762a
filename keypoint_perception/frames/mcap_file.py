"""
An MCAP file that is whole whenever its writer stops.

The format (https://mcap.dev/spec) ends with an end mark, and readers such as rosbags refuse a file
without one. So the file has one from its first moment, without the index that
:meth:`McapFile.close` adds, and grows in four steps:

1. another end mark is written as far behind as the new records need,
2. what lies between becomes one record of a private kind, which readers skip,
3. the new records are written into it, but for the head of the first,
4. that head turns the private record into the new ones.

The first and the last two are of a few bytes. However the process ends, only between the first two
is the file one that a reader may refuse, and even there nothing of it is lost
(:mod:`keypoint_perception.frames.salvage.mcap_salvage`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import os
from pathlib import Path
import struct

MAGIC = b'\x89MCAP0\r\n'
# Data end (no checksum) and footer (neither summary nor checksum), each behind kind and length.
END_MARK = struct.pack('<BQI', 0x0F, 4, 0) + struct.pack('<BQQQI', 0x02, 20, 0, 0, 0) + MAGIC
# A chunk is what can be lost at once, and what is compressed as one; the index has an entry each.
CHUNK_BYTES = 4 << 20
COMPRESSIONS = ('none', 'zstd')
HEAD_BYTES = 9  # of a record: its kind and its length
CLOSED = -1  # no number of a file
PRIVATE_KIND = 0x80
MAX_PIECES = 512  # of one write; the kernel takes 1,024


@dataclass(frozen=True)
class RecordedTopic:
    """
    What a bag says about a topic.

    :param msgtype: as ``sensor_msgs/msg/Image``
    :param definition: text of the type and those it is made of, as rosbag2 stores it; may be empty
    :param type_hash: as ``RIHS01_...``; may be empty
    :param qos: what the publishers offer, each with rosbag2's keys
    """

    name: str
    msgtype: str
    definition: str = ''
    type_hash: str = ''
    qos: list[dict] = field(default_factory=list)


class McapFile:
    """
    One MCAP file in the form that rosbag2 writes.

    :param compression: of each chunk: ``none`` or ``zstd``
    :raises OSError: if it exists, or the disk is full; this holds for every method, and after it
        the file is whole up to the last flush that succeeded
    """

    def __init__(self, path: Path, *, compression: str = 'none') -> None:
        from mcap.writer import CompressionType, Writer

        self.path = path
        self._stream = _WholeStream(path)
        self._writer = Writer(
            self._stream,
            chunk_size=CHUNK_BYTES,
            compression={'none': CompressionType.NONE, 'zstd': CompressionType.ZSTD}[compression],
        )
        self._writer.start(profile='ros2', library='keypoint_perception')
        self._stream.flush()
        self._schemas: dict[str, int] = {}
        self._unchunked = 0

    @property
    def size_bytes(self) -> int:
        """Return the size on disk with what waits for the next flush."""
        return self._stream.tell() + self._unchunked

    @property
    def waiting_bytes(self) -> int:
        """Return what would be lost if the process ended now, before compression."""
        return self._unchunked

    def add_topic(self, topic: RecordedTopic) -> int:
        """Announce a topic; return the number to write its messages with."""
        if topic.msgtype not in self._schemas:
            encoding = 'ros2msg' if topic.definition else ''
            self._schemas[topic.msgtype] = self._writer.register_schema(
                topic.msgtype, encoding, topic.definition.encode()
            )
        about = {
            'offered_qos_profiles': dump_yaml(topic.qos).strip(),
            'topic_type_hash': topic.type_hash,
        }
        schema = self._schemas[topic.msgtype]
        return self._writer.register_channel(topic.name, 'cdr', schema, about)

    def write(
        self, channel: int, sequence: int, log_ns: int, publish_ns: int, data: bytes
    ) -> None:
        """Add one serialised message; it is flushed with its chunk."""
        self._writer.add_message(channel, log_ns, data, publish_ns, sequence)
        self._unchunked += len(data)
        if self._stream.pending:  # the library has finished a chunk
            self._stream.flush()
            self._unchunked = 0

    def flush(self) -> None:
        """Hand everything to the operating system, whole: it survives the end of the process."""
        self._writer.flush()
        self._unchunked = 0

    def duplicate_handle(self) -> int:
        """Return a file descriptor to sync by, which the caller closes."""
        return os.dup(self._stream.handle)

    def close(self, metadata: str) -> None:
        """
        Write the index and close.

        :param metadata: text of ``metadata.yaml`` for this file, which rosbag2 keeps inside too
        """
        try:
            self.flush()
            self._writer.add_metadata('rosbag2', {'serialized_metadata': metadata})
            self._writer.finish()
            self._stream.finish()
            self._unchunked = 0
        finally:
            self._stream.close()

    def abandon(self) -> None:
        """Close without an index, as after a full disk: nothing more is written."""
        self._stream.close()


class _WholeStream:
    """
    What the MCAP library writes to; on the disk it ends with an end mark.

    :param pending: bytes that wait for the next flush
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.handle = os.open(path, flags, 0o644)
        self._end = 0
        self._pieces: list[bytes] = []
        self.pending = 0

    def write(self, data: bytes) -> int:
        """Take whole records."""
        if data:  # the library hands over nothing, too
            self._pieces.append(data)
        self.pending += len(data)
        return len(data)

    def tell(self) -> int:
        """Return where the next record begins."""
        return self._end + self.pending

    def flush(self) -> None:
        """Write what waits, whole records, with an end mark behind them."""
        if not self.pending:
            return
        pieces, end, handle = self._pieces, self._end, self.handle
        new_end = end + self.pending
        self._pieces, self.pending = [], 0
        with self._undone_on_failure():
            if not end:
                write_at(handle, [*pieces, END_MARK], 0)
            else:
                first = memoryview(pieces[0])
                skipped = struct.pack('<BQ', PRIVATE_KIND, new_end - end - HEAD_BYTES)
                write_at(handle, [END_MARK], new_end)
                write_at(handle, [skipped], end)
                write_at(handle, [first[HEAD_BYTES:], *pieces[1:]], end + HEAD_BYTES)
                write_at(handle, [first[:HEAD_BYTES]], end)
        self._end = new_end

    def finish(self) -> None:
        """Write what waits, which brings an end mark of its own."""
        pieces, new_end = self._pieces, self._end + self.pending
        self._pieces, self.pending = [], 0
        with self._undone_on_failure():
            write_at(self.handle, pieces, self._end)
            os.ftruncate(self.handle, new_end)
        self._end = new_end

    @contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        """Leave the file as it was after the last success, as when the disk is full."""
        try:
            yield
        except OSError:
            if self._end:
                # The place of the last end mark needs no more room.
                write_at(self.handle, [END_MARK], self._end)
                os.ftruncate(self.handle, self._end + len(END_MARK))
            raise

    def close(self) -> None:
        """Give the file back, once: its number may be another file's afterwards."""
        handle, self.handle = self.handle, CLOSED
        if handle != CLOSED:
            os.close(handle)


def dump_yaml(values: object) -> str:
    """Return values as YAML in their order, what stands there twice written twice."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

    return yaml.dump(values, Dumper=Plain, sort_keys=False)


def write_at(handle: int, pieces: list[bytes], offset: int) -> None:
    """Write pieces one behind the other, all of them, without joining them first."""
    left = [memoryview(piece) for piece in pieces if len(piece)]
    while left:
        written = os.pwritev(handle, left[:MAX_PIECES], offset)
        offset += written
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
