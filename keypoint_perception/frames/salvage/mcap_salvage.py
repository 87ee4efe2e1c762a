"""
Messages of a damaged or unfinished MCAP file.

A record of the format (https://mcap.dev/spec) has one byte of kind, eight of length, and the
content. Everything before a damaged part is used; if the content of a chunk is damaged but its
length is not, reading continues after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
from typing import BinaryIO
import zlib

from keypoint_perception.frames.mcap_file import HEADER_BYTES, MAGIC
from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.partial_decompression import decompress_prefix
from keypoint_perception.frames.salvage.salvage_reader import RecordReader

FOOTER_BYTES = 37  # with its magic
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 0x02, 0x03, 0x04, 0x05, 0x06, 0x0F
KNOWN_KINDS = range(0x01, 0x10)
PRIVATE_KINDS = range(0x80, 0x100)
MAX_SUMMARY_BYTES = 1 << 24  # its schemas and channels come first


class McapSalvage(RecordReader):
    """Reader of one damaged MCAP file; messages of a chunk are in order of time."""

    magic = MAGIC

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._schemas: dict[int, str] = {}
        # topic, type and serialization
        self._channels: dict[int, tuple[str, str, str]] = {}

    def _records(self, stream: BinaryIO) -> Iterator[Message]:
        self._read_summary(stream)
        stream.seek(len(MAGIC))
        whole = True
        while whole:
            start = stream.tell()
            head = stream.read(HEADER_BYTES)
            if len(head) < HEADER_BYTES:
                self._damaged(start, len(head), 'the end mark of a complete file is missing')
                return
            kind, length = struct.unpack('<BQ', head)
            left = self.size - stream.tell()
            if kind == DATA_END:
                return
            if kind not in KNOWN_KINDS and kind not in PRIVATE_KINDS:
                self._damaged(start, left, f'a record has the unknown kind {kind}')
                return
            whole = length <= left
            if kind == CHUNK:
                yield from self._chunk(stream.read(min(length, left)), start, whole)
            elif not whole:
                self._damaged(start, left, 'a record is longer than the rest of the file')
            elif kind in (SCHEMA, CHANNEL, MESSAGE):
                yield from self._parse(kind, stream.read(length), start)
            else:
                stream.seek(length, 1)

    def _read_summary(self, stream: BinaryIO) -> None:
        """Read the channels at the end of the file too, as their own chunk may be damaged."""
        stream.seek(max(0, self.size - FOOTER_BYTES))
        footer = stream.read()
        if len(footer) < FOOTER_BYTES or footer[0] != FOOTER or footer[-len(MAGIC) :] != MAGIC:
            return
        (start,) = struct.unpack_from('<Q', footer, HEADER_BYTES)
        if start and start < self.size:
            stream.seek(start)
            self._parse_all(stream.read(min(self.size - start, MAX_SUMMARY_BYTES)), start)
            self.damages.clear()

    def _parse(self, kind: int, content: bytes, start: int) -> Iterator[Message]:
        """Yield the message of a record, or keep its schema or channel."""
        try:
            if kind == MESSAGE:
                channel_id, _, time_ns, _ = struct.unpack_from('<HIQQ', content)
                yield Message(*self._channels[channel_id], time_ns, content[22:])
            elif kind == SCHEMA:
                (schema_id,) = struct.unpack_from('<H', content)
                self._schemas[schema_id], _ = _string(content, 2)
            else:
                channel_id, schema_id = struct.unpack_from('<HH', content)
                topic, position = _string(content, 4)
                serialization, _ = _string(content, position)
                msgtype = normal_type(self._schemas.get(schema_id, ''))
                self._channels[channel_id] = topic, msgtype, serialization
                self.topics[topic] = msgtype
        except KeyError as error:
            self._damaged(start, len(content), f'a message has the unknown channel {error}')
        except (struct.error, ValueError) as error:
            self._damaged(start, len(content), f'a record is unreadable: {error}')

    def _chunk(self, content: bytes, start: int, whole: bool) -> Iterator[Message]:
        try:
            _, _, expanded, crc = struct.unpack_from('<QQQI', content)
            compression, position = _string(content, 28)
            (length,) = struct.unpack_from('<Q', content, position)
        except (struct.error, ValueError) as error:
            self._damaged(start, len(content), f'the header of a chunk is unreadable: {error}')
            return
        packed = content[position + 8 : position + 8 + length]
        records, broken = decompress_prefix(packed, compression, expanded)
        if whole and not broken and crc and zlib.crc32(records) != crc:
            broken = 'the checksum of a chunk is wrong, so its images may have wrong pixels'
        messages, used = self._parse_all(records, start)
        if not whole:
            broken = 'a chunk is longer than the rest of the file'
        elif used < expanded:
            broken = broken or 'a record in a chunk is unreadable'
        if broken:
            lost = round(min(length, self.size) * (1 - used / max(expanded, 1)))
            self._damaged(start, max(lost, 0), broken)
        yield from sorted(messages, key=lambda message: message.time_ns)

    def _parse_all(self, records: bytes, start: int) -> tuple[list[Message], int]:
        """Return the messages of a chunk, and how many of its bytes were used."""
        messages: list[Message] = []
        position = 0
        while position + HEADER_BYTES <= len(records):
            kind, length = struct.unpack_from('<BQ', records, position)
            end = position + HEADER_BYTES + length
            if end > len(records) or kind not in (SCHEMA, CHANNEL, MESSAGE):
                break
            messages += self._parse(kind, records[position + HEADER_BYTES : end], start)
            position = end
        return messages, position


def _string(content: bytes, position: int) -> tuple[str, int]:
    """Return a string and the position after it."""
    (length,) = struct.unpack_from('<I', content, position)
    end = position + 4 + length
    if end > len(content):
        msg = f'a string of {length} bytes does not fit its record'
        raise ValueError(msg)
    return content[position + 4 : end].decode(), end
