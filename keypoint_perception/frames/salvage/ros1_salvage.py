"""
Messages of a damaged or unfinished ROS 1 bag.

The format (http://wiki.ros.org/Bags/Format/2.0) is a sequence of records: a header of named
fields and data, each behind its length. Reading them in the order of the file needs no index,
which a recorder that crashed never wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
from typing import BinaryIO

from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.damage import byte_place, Damage
from keypoint_perception.frames.salvage.partial_decompression import decompress_prefix

MAGIC = b'#ROSBAG V2.0\n'
MESSAGE, CHUNK, CONNECTION = 2, 5, 7
LARGEST_EXPANSION = 1 << 31  # of one chunk, bytes


class Ros1Salvage:
    """
    One damaged ROS 1 bag.

    :param damages: what :meth:`messages` found, complete when it has ended
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.damages: list[Damage] = []
        self.topics: dict[str, str] = {}
        self._connections: dict[bytes, tuple[str, str]] = {}

    def messages(self) -> Iterator[Message]:
        """Yield the messages in the order of the file."""
        self.damages.clear()
        with self.path.open('rb') as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                self._report(0, self.size, 'it does not begin as a ROS 1 bag does')
                return
            while stream.tell() < self.size:
                start = stream.tell()
                record = self._read_record(stream, start)
                if record is None:
                    return
                fields, data, whole = record
                yield from self._use(fields, data, start)
                if not whole:
                    lost = len(data) if fields.get(b'op') != bytes([CHUNK]) else 0
                    self._report(start, lost, 'a record is longer than the rest of the file')
                    return

    def _report(self, offset: int, lost: int, reason: str) -> None:
        self.damages.append(Damage(byte_place(offset), lost, reason))

    def _read_record(self, stream: BinaryIO, start: int):
        """Return a record's fields, its data and whether that is whole, or None at a damage."""
        try:
            fields = _fields(_sized(stream, self.size))
            (length,) = struct.unpack('<I', stream.read(4))
        except (struct.error, ValueError) as error:
            self._report(start, self.size - start, f'a record cannot be read: {error}')
            return None
        data = stream.read(min(length, self.size - stream.tell()))
        return fields, data, len(data) == length

    def _use(self, fields: dict[bytes, bytes], data: bytes, start: int) -> Iterator[Message]:
        kind = fields.get(b'op', b'\0')[0]
        try:
            if kind == CONNECTION:
                self._add_connection(fields, data)
            elif kind == MESSAGE:
                yield self._message(fields, data)
            elif kind == CHUNK:
                yield from self._chunk(fields, data, start)
        except (KeyError, struct.error, ValueError) as error:
            self._report(start, len(data), f'a record cannot be read: {error}')

    def _add_connection(self, fields: dict[bytes, bytes], data: bytes) -> None:
        topic = '/'.join(part for part in fields[b'topic'].decode().split('/') if part)
        topic = '/' + topic if fields[b'topic'].startswith(b'/') else topic
        msgtype = normal_type(_fields(data)[b'type'].decode())
        self._connections[fields[b'conn']] = topic, msgtype
        self.topics[topic] = msgtype

    def _message(self, fields: dict[bytes, bytes], data: bytes) -> Message:
        topic, msgtype = self._connections[fields[b'conn']]
        seconds, nanoseconds = struct.unpack('<II', fields[b'time'])
        return Message(topic, msgtype, 'ros1', seconds * 10**9 + nanoseconds, data)

    def _chunk(self, fields: dict[bytes, bytes], data: bytes, start: int) -> Iterator[Message]:
        (expanded,) = struct.unpack('<I', fields[b'size'])
        compression = fields[b'compression'].decode()
        limit = min(expanded, LARGEST_EXPANSION)
        records, broken = decompress_prefix(data, compression, limit)
        position = 0
        while position < len(records):
            try:
                (head,) = struct.unpack_from('<I', records, position)
                fields = _fields(records[position + 4 : position + 4 + head])
                (length,) = struct.unpack_from('<I', records, position + 4 + head)
                end = position + 8 + head + length
                if end > len(records):
                    break
            except (struct.error, ValueError) as error:
                broken = broken or f'a record inside a chunk cannot be read: {error}'
                break
            yield from self._use(fields, records[end - length : end], start)
            position = end
        if broken or position < expanded:
            self._report(start, expanded - position, broken or 'a chunk is cut short')


def _sized(stream: BinaryIO, limit: int) -> bytes:
    (length,) = struct.unpack('<I', stream.read(4))
    if length > limit - stream.tell():
        msg = f'its head of {length} bytes is longer than the rest of the file'
        raise ValueError(msg)
    return stream.read(length)


def _fields(head: bytes) -> dict[bytes, bytes]:
    fields, position = {}, 0
    while position < len(head):
        (length,) = struct.unpack_from('<I', head, position)
        field = head[position + 4 : position + 4 + length]
        name, separator, value = field.partition(b'=')
        if len(field) < length or not separator:
            msg = 'a field of its head is broken'
            raise ValueError(msg)
        fields[name] = value
        position += 4 + length
    return fields
