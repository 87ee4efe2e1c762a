"""
Messages of a ROS 1 bag, intact, unfinished or damaged.

A record of the format (http://wiki.ros.org/Bags/Format/2.0) has a header of named fields and
data, each after its length. The connections are in the chunks and again at the end of the file;
both are used. There are no checksums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from pathlib import Path
import re
import struct

from keypoint_perception.cdr import Buffer, IMAGE_TYPES
from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.record_reader import Read, Record, RecordReader
from keypoint_perception.frames.salvage.salvage_reader import RECORD_COST, UNREADABLE

MESSAGE, INDEX, CHUNK, CHUNK_INFO, CONNECTION = 2, 4, 5, 6, 7
# Sizes of the fields that must be in the header of each kind, None for any.
FIELDS: dict[int, dict[bytes, int | None]] = {
    MESSAGE: {b'conn': 4},
    3: {},
    INDEX: {b'conn': 4},
    CHUNK: {b'compression': None, b'size': 4},
    CHUNK_INFO: {},
    CONNECTION: {b'conn': 4, b'topic': None},
}
MAX_HEADER_BYTES = 1 << 16
MAX_CONNECTION_BYTES = 1 << 22  # with the text of its type
HEADER_BEFORE_KIND = 200  # bytes of it at most that are searched for


class Ros1Salvage(RecordReader):
    """Reader of one ROS 1 bag."""

    magic = b'#ROSBAG V2.0\n'
    candidate = re.compile(rb'\x04\x00\x00\x00op=[\x02-\x07]')

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._time = 0
        self._listed: Counter[Hashable] = Counter()  # messages by connection, at the end

    def _record(self, read: Read, at: int, size: int) -> Record:
        (head,) = struct.unpack('<I', read(at, 4))
        if head > min(size - at, MAX_HEADER_BYTES):
            raise ValueError(f'its header of {head} bytes is too long')
        fields = _fields(bytes(read(at + 4, head)))
        kind, start = fields[b'op'][0], at + 8 + head
        (length,) = struct.unpack('<I', read(start - 4, 4))
        for name, count in FIELDS[kind].items():
            if len(fields[name]) != (count or len(fields[name])):
                raise ValueError(f'a field of its header has {len(fields[name])} bytes')
        # a recorder that was killed has not stated the length of the last chunk
        if kind == CHUNK and not length and fields[b'compression'] != b'none':
            length = size - start
        if start + length > size and kind != CHUNK:
            raise ValueError('it is longer than the rest')
        return Record(kind, fields, at, start, min(start + length, size))

    def _begins(self, read: Read, found: int) -> Iterator[int]:
        yield from range(found - 4, max(found - HEADER_BEFORE_KIND, 0), -1)

    def _is_counted(self) -> bool:
        for _ in self._blocks(()):
            pass
        return self._counts == self._listed

    def _blocks(self, wanted: Collection[str] | None) -> Iterator[tuple[int, int]]:
        del wanted
        chunk, times = -1, [0]
        for record in self._records():
            if record.kind == INDEX:
                # of the chunk before it
                self._counts[record.fields[b'conn']] += (record.end - record.start) // 12
                first = self._read(record.start, 8)
                times += [_time_ns(first)] if len(first) == 8 else []
                continue
            if chunk >= 0 and record.kind in (CHUNK, MESSAGE):
                yield min(times, default=0), chunk
                chunk = -1
            if record.kind == CHUNK:
                chunk, times = record.begin, []
            elif record.kind == MESSAGE:
                yield self._time_of(record), record.begin
            elif record.kind == CHUNK_INFO:
                size = min(record.end - record.start, MAX_CONNECTION_BYTES) // 8 * 8
                for key, count in struct.iter_unpack('<4sI', self._read(record.start, size)):
                    self._listed[key] += count
            elif record.kind == CONNECTION:
                size = min(record.end - record.start, MAX_CONNECTION_BYTES)
                self._connect(record, self._read(record.start, size))
        if chunk >= 0:
            yield min(times, default=0), chunk

    def _load(self, place: int, wanted: Collection[str] | None) -> Iterator[Message]:
        record = self._record(self._read, place, self.size)
        end = self._ends.get(place, record.end)
        length = end - record.start
        if record.kind == MESSAGE:
            self._bound('max_message_mb', length, place)
            yield from self._message(record, self._read(record.start, length), place, wanted)
            return
        self._bound('max_chunk_mb', length, place)
        packed = self._read(record.start, length)
        (stated,) = struct.unpack('<I', self._read(record.start - 4, 4))
        compression = record.fields[b'compression'].decode()
        (expanded,) = struct.unpack('<I', record.fields[b'size'])
        records, wrong = self._expand(packed, compression, 'max_chunk_mb', expanded, place)
        if length < stated:
            wrong = 'a chunk is longer than the rest of the file'
        if wrong:
            self._damaged(place, max(expanded - len(records), 0), wrong)
        view = memoryview(records)
        for inner in self._walk(
            lambda at, count: view[at : at + count], 0, len(view), place, cut=bool(wrong)
        ):
            content = view[inner.start : inner.end]
            self._spend(RECORD_COST)
            if inner.kind == MESSAGE:
                yield from self._message(inner, content, place, wanted)
            elif inner.kind == CONNECTION:
                self._connect(inner, bytes(content))

    def _message(
        self, record: Record, content: Buffer, place: int, wanted: Collection[str] | None
    ) -> Iterator[Message]:
        key = record.fields[b'conn']
        if key not in self._channels:
            self._damaged(place, len(content), 'a message has an unknown connection')
        elif wanted is None or self._channels[key][0] in wanted:
            topic, msgtype, serialization = self._channels[key]
            yield Message(topic, msgtype, serialization, self._time_of(record), content)

    def _connect(self, record: Record, content: bytes) -> None:
        try:
            name = record.fields[b'topic'].decode()
            msgtype = normal_type(_fields(content)[b'type'].decode())
        except UNREADABLE as error:
            self._damaged(record.begin, len(content), f'a connection is unreadable: {error}')
            return
        # double and trailing slashes are not significant
        topic = '/' * name.startswith('/') + '/'.join(part for part in name.split('/') if part)
        key = record.fields[b'conn']
        # those at the end of the file, which are read first, and those in chunks may differ
        if key not in self._channels or self._channels[key][1] not in IMAGE_TYPES:
            self._channels[key] = topic, msgtype, 'ros1'

    def _time_of(self, record: Record) -> int:
        """Return the time of a message, or where it is damaged, of the one before."""
        field = record.fields.get(b'time', b'')
        self._time = _time_ns(field) if len(field) == 8 else self._time
        return self._time


def _time_ns(field: bytes) -> int:
    seconds, nanoseconds = struct.unpack('<II', field)
    return int(seconds * 10**9 + nanoseconds)


def _fields(header: bytes) -> dict[bytes, bytes]:
    fields, position = {}, 0
    while position < len(header):
        (length,) = struct.unpack_from('<I', header, position)
        field = header[position + 4 : position + 4 + length]
        name, separator, value = field.partition(b'=')
        if len(field) < length or not separator:
            msg = 'a field of its header is damaged'
            raise ValueError(msg)
        fields[name] = value
        position += 4 + length
    return fields
