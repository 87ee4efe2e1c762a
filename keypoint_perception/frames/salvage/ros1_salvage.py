"""
Messages of a damaged or unfinished ROS 1 bag.

A record of the format (http://wiki.ros.org/Bags/Format/2.0) has a header of named fields and
data, each after its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
import struct
from typing import BinaryIO, NamedTuple

from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.partial_decompression import decompress_prefix
from keypoint_perception.frames.salvage.salvage_reader import RecordReader

MESSAGE, CHUNK, CONNECTION = b'\x02', b'\x05', b'\x07'
UNREADABLE = (KeyError, struct.error, ValueError)


class _Record(NamedTuple):
    fields: dict[bytes, bytes]
    data: bytes
    whole: bool


class Ros1Salvage(RecordReader):
    """Reader of one damaged ROS 1 bag."""

    magic = b'#ROSBAG V2.0\n'

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._connections: dict[bytes, tuple[str, str]] = {}

    def _records(self, stream: BinaryIO) -> Iterator[Message]:
        while (start := stream.tell()) < self.size:
            try:
                record = _read_record(stream, self.size)
            except UNREADABLE as error:
                self._damaged(start, self.size - start, f'a record is unreadable: {error}')
                return
            yield from self._parse(record, start)
            if not record.whole:
                lost = len(record.data) if record.fields.get(b'op') != CHUNK else 0
                self._damaged(start, lost, 'a record is longer than the rest of the file')
                return

    def _parse(self, record: _Record, start: int) -> Iterator[Message]:
        """Yield the messages of a record, or keep its connection."""
        fields, data, _ = record
        kind = fields.get(b'op')
        try:
            if kind == CONNECTION:
                # double and trailing slashes are not significant
                topic = '/'.join(part for part in fields[b'topic'].decode().split('/') if part)
                topic = '/' + topic if fields[b'topic'].startswith(b'/') else topic
                msgtype = normal_type(_fields(data)[b'type'].decode())
                self._connections[fields[b'conn']] = topic, msgtype
                self.topics[topic] = msgtype
            elif kind == MESSAGE:
                topic, msgtype = self._connections[fields[b'conn']]
                seconds, nanoseconds = struct.unpack('<II', fields[b'time'])
                yield Message(topic, msgtype, 'ros1', seconds * 10**9 + nanoseconds, data)
            elif kind == CHUNK:
                yield from self._chunk(fields, data, start)
        except UNREADABLE as error:
            self._damaged(start, len(data), f'a record is unreadable: {error}')

    def _chunk(self, fields: dict[bytes, bytes], data: bytes, start: int) -> Iterator[Message]:
        (expanded,) = struct.unpack('<I', fields[b'size'])
        records, broken = decompress_prefix(data, fields[b'compression'].decode(), expanded)
        stream, used = BytesIO(records), 0
        while used < len(records):
            try:
                record = _read_record(stream, len(records))
            except UNREADABLE as error:
                broken = broken or f'a record in a chunk is unreadable: {error}'
                break
            if not record.whole:
                break
            yield from self._parse(record, start)
            used = stream.tell()
        if broken or used < expanded:
            self._damaged(start, expanded - used, broken or 'a chunk is truncated')


def _read_record(stream: BinaryIO, size: int) -> _Record:
    """
    Return the next record of a file or chunk of a size; its data may be truncated.

    :raises ValueError: if its header is damaged, or ``struct.error``
    """
    (head,) = struct.unpack('<I', stream.read(4))
    if head > size - stream.tell():
        msg = f'its header of {head} bytes is longer than the rest'
        raise ValueError(msg)
    fields = _fields(stream.read(head))
    (length,) = struct.unpack('<I', stream.read(4))
    data = stream.read(min(length, size - stream.tell()))
    return _Record(fields, data, len(data) == length)


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
