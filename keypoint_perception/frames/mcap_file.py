"""
An MCAP file that is whole whenever its writer stops.

The format (https://mcap.dev/spec) ends with an end mark, and readers such as rosbags refuse a file
without one. So every flush writes its chunks with the end mark behind them, and the next flush
writes over the mark: however the process ends, between two flushes the file is complete, though
without the index that :meth:`McapFile.close` adds. A flush that was cut short leaves a file that
is read up to its last whole chunk (:mod:`keypoint_perception.frames.mcap_salvage`).
"""

from __future__ import annotations

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
    What the MCAP library writes to: every flush ends with an end mark, the next goes over it.

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
        self._pieces.append(data)
        self.pending += len(data)
        return len(data)

    def tell(self) -> int:
        """Return where the next record begins."""
        return self._end + self.pending

    def flush(self) -> None:
        """Write what waits, and the end mark."""
        if self.pending:
            self._write([*self._pieces, END_MARK])

    def finish(self) -> None:
        """Write what waits, which brings its own end mark."""
        self._write(self._pieces)
        os.ftruncate(self.handle, self._end)

    def _write(self, pieces: list[bytes]) -> None:
        pending, self._pieces, self.pending = self.pending, [], 0
        try:
            write_at(self.handle, pieces, self._end)
        except OSError:
            # The first bytes stand where the last end mark stood, which has its room already.
            os.ftruncate(self.handle, self._end + (len(END_MARK) if self._end else 0))
            if self._end:
                write_at(self.handle, [END_MARK], self._end)
            raise
        self._end += pending

    def close(self) -> None:
        """Give the file back."""
        os.close(self.handle)


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
