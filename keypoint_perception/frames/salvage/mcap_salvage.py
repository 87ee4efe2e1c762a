"""
Messages of a damaged or unfinished MCAP file.

The format (https://mcap.dev/spec) is a sequence of records: one byte of kind, eight of length,
and the content. Reading them in the order of the file needs no index and no footer, which a
recorder that crashed never wrote. Everything in front of a damage is used; where a chunk's
content is damaged but its length is not, reading goes on behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
from typing import BinaryIO, NamedTuple
import zlib

from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.damage import byte_place, Damage
from keypoint_perception.frames.salvage.partial_decompression import decompress_prefix

MAGIC = b'\x89MCAP0\r\n'
FOOTER_BYTES = 37  # with its magic
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
KNOWN_KINDS = range(0x01, 0x10)
RECORD_HEAD = 9
LARGEST_EXPANSION = 1 << 31  # of one chunk, bytes
LARGEST_SUMMARY = 1 << 24  # of which its schemas and channels come first, bytes


class _Channel(NamedTuple):
    topic: str
    msgtype: str
    serialization: str


class McapSalvage:
    """
    One damaged MCAP file.

    :param damages: what :meth:`messages` found, complete when it has ended
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.damages: list[Damage] = []
        self.topics: dict[str, str] = {}
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, _Channel] = {}

    def messages(self) -> Iterator[Message]:
        """Yield the messages in the order of the file; those of a chunk by time."""
        self.damages.clear()
        with self.path.open('rb') as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                self._report(0, self.size, 'it does not begin as an MCAP file does')
                return
            self._read_summary(stream)
            stream.seek(len(MAGIC))
            while (yield from self._next_record(stream)):
                pass

    def _report(self, offset: int, lost: int, reason: str) -> None:
        self.damages.append(Damage(byte_place(offset), lost, reason))

    def _read_summary(self, stream: BinaryIO) -> None:
        """Learn the channels from the end of the file too: their own chunk may be damaged."""
        stream.seek(max(0, self.size - FOOTER_BYTES))
        footer = stream.read()
        if len(footer) < FOOTER_BYTES or footer[0] != FOOTER or footer[-len(MAGIC) :] != MAGIC:
            return
        (start,) = struct.unpack_from('<Q', footer, RECORD_HEAD)
        if start and start < self.size:
            stream.seek(start)
            self._records(stream.read(min(self.size - start, LARGEST_SUMMARY)), start)
            self.damages.clear()

    def _next_record(self, stream: BinaryIO) -> Iterator[Message]:
        """Yield the messages of one record; return whether another may follow."""
        start = stream.tell()
        head = stream.read(RECORD_HEAD)
        left = self.size - start - len(head)
        if len(head) < RECORD_HEAD:
            self._report(start, len(head), 'it ends without the end mark a recorder writes')
            return False
        kind, length = struct.unpack('<BQ', head)
        if kind == DATA_END:
            return False
        if kind not in KNOWN_KINDS and kind < 0x80:
            self._report(start, left, f'a record of unknown kind {kind}')
            return False
        whole = length <= left
        if kind in (SCHEMA, CHANNEL, MESSAGE, CHUNK):
            yield from self._content(kind, stream.read(min(length, left)), start, whole)
        else:
            stream.seek(min(length, left), 1)
        if not whole and kind != CHUNK:
            self._report(start, left, 'a record is longer than the rest of the file')
        return whole

    def _content(self, kind: int, content: bytes, start: int, whole: bool) -> Iterator[Message]:
        if kind == CHUNK:
            yield from self._chunk(content, start, whole)
        elif whole:
            message = self._parse(kind, content, start)
            if message is not None:
                yield message

    def _parse(self, kind: int, content: bytes, start: int) -> Message | None:
        try:
            if kind == MESSAGE:
                channel_id, _, time_ns, _ = struct.unpack_from('<HIQQ', content)
                channel = self._channels[channel_id]
                return Message(*channel, time_ns, content[22:])
            if kind == SCHEMA:
                (schema_id,) = struct.unpack_from('<H', content)
                self._schemas[schema_id], _ = _string(content, 2)
            elif kind == CHANNEL:
                self._add_channel(content)
        except KeyError as error:
            self._report(start, len(content), f'a message of the unknown channel {error}')
        except (struct.error, ValueError) as error:
            self._report(start, len(content), f'a record cannot be read: {error}')
        return None

    def _add_channel(self, content: bytes) -> None:
        channel_id, schema_id = struct.unpack_from('<HH', content)
        topic, position = _string(content, 4)
        serialization, _ = _string(content, position)
        msgtype = normal_type(self._schemas.get(schema_id, ''))
        self._channels[channel_id] = _Channel(topic, msgtype, serialization)
        self.topics[topic] = msgtype

    def _chunk(self, content: bytes, start: int, whole: bool) -> Iterator[Message]:
        try:
            _, _, expanded, crc = struct.unpack_from('<QQQI', content)
            compression, position = _string(content, 28)
            (length,) = struct.unpack_from('<Q', content, position)
        except (struct.error, ValueError) as error:
            self._report(start, len(content), f'the head of a chunk cannot be read: {error}')
            return
        packed = content[position + 8 : position + 8 + length]
        limit = min(expanded, LARGEST_EXPANSION)
        records, broken = decompress_prefix(packed, compression, limit)
        if whole and not broken and crc and zlib.crc32(records) != crc:
            broken = 'the checksum of a chunk does not match, so its images may hold wrong pixels'
        messages, used = self._records(records, start)
        if not whole:
            broken = 'a chunk is longer than the rest of the file'
        elif used < expanded:
            broken = broken or 'a record inside a chunk cannot be read'
        if broken:
            lost = round(min(length, self.size) * (1 - used / max(expanded, 1)))
            self._report(start, max(lost, 0), broken)
        yield from sorted(messages, key=lambda message: message.time_ns)

    def _records(self, records: bytes, start: int) -> tuple[list[Message], int]:
        """Return the messages of a chunk and how many of its bytes were used."""
        messages, position = [], 0
        while position + RECORD_HEAD <= len(records):
            kind, length = struct.unpack_from('<BQ', records, position)
            end = position + RECORD_HEAD + length
            if end > len(records) or kind not in (SCHEMA, CHANNEL, MESSAGE):
                break
            message = self._parse(kind, records[position + RECORD_HEAD : end], start)
            if message is not None:
                messages.append(message)
            position = end
        return messages, position


def _string(content: bytes, position: int) -> tuple[str, int]:
    """Return a string and the position behind it."""
    (length,) = struct.unpack_from('<I', content, position)
    end = position + 4 + length
    if end > len(content):
        msg = f'a text of {length} bytes does not fit its record'
        raise ValueError(msg)
    return content[position + 4 : end].decode(), end
