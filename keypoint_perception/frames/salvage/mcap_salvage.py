"""
Messages of an MCAP file, intact, unfinished or damaged.

A record of the format (https://mcap.dev/spec) has one byte of kind, eight of length, and the
content. Chunks whose checksum is wrong are not used; of those that cannot be decompressed or are
cut short, what precedes the damage is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from contextlib import suppress
from pathlib import Path
import re
import struct
import zlib

from keypoint_perception.cdr import Buffer, IMAGE_TYPES
from keypoint_perception.frames.mcap_file import HEADER_BYTES, MAGIC
from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.record_reader import Read, Record, RecordReader
from keypoint_perception.frames.salvage.salvage_reader import RECORD_COST, UNREADABLE

FOOTER_BYTES = 37  # with its magic
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
CHUNK_INDEX, STATISTICS, DATA_END = 0x08, 0x0B, 0x0F
KNOWN_KINDS = (*range(0x01, 0x10), *range(0x80, 0x100))
MESSAGE_BYTES, CHUNK_BYTES = 22, 40  # of what is before the data of a message, of a chunk
MAX_SUMMARY_BYTES = 1 << 26  # its schemas and channels come first
MAX_NAMES_BYTES = 1 << 16  # before the text of a schema, which is not read, or in a channel


class McapSalvage(RecordReader):
    """Reader of one MCAP file."""

    magic = MAGIC
    _summary_is_checked = False
    candidate = re.compile(rb'[\x03-\x08\x0f](?=[\s\S]{5}\x00{3})')

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._schemas: dict[int, str] = {}
        self._indexed: set[int] = set()  # places of chunks
        self._defined: set[Hashable] = set()  # channels in the data

    def _record(self, read: Read, at: int, size: int) -> Record:
        kind, length = struct.unpack('<BQ', read(at, HEADER_BYTES))
        start = at + HEADER_BYTES
        end, certain = start + length, False
        if kind not in KNOWN_KINDS or (kind == DATA_END and length != 4):
            msg = f'it has the unknown kind {kind}'
            raise ValueError(msg)
        if kind == CHUNK:
            # its length follows from the length of its data too
            (count,) = struct.unpack('<I', read(start + 28, 4))
            (packed,) = struct.unpack('<Q', read(start + 32 + count, 8))
            inner = start + CHUNK_BYTES + count + packed
            certain = inner == end
            if end != inner <= size and not self._has_kind(read, end, size):
                end = inner
            end = min(end, size)
        if end > size:
            msg = 'it is longer than the rest'
            raise ValueError(msg)
        return Record(kind, {}, at, start, end, certain)

    def _has_kind(self, read: Read, at: int, size: int) -> bool:
        return at < size and read(at, 1)[0] in KNOWN_KINDS

    def _begins(self, read: Read, found: int) -> Iterator[int]:
        yield found

    def _blocks(self, wanted: Collection[str] | None) -> Iterator[tuple[int, int]]:
        self._read_summary()
        for record in self._records():
            if record.kind == DATA_END:
                break
            if record.kind == CHUNK:
                self._indexed.discard(record.begin)
                yield self._chunk_time(record), record.begin
            elif record.kind == MESSAGE and record.end - record.start >= MESSAGE_BYTES:
                key, _, time_ns = struct.unpack('<HIQ', self._read(record.start, 14))
                known = key in self._channels
                if wanted is None or not known or self._channels[key][0] in wanted:
                    yield time_ns, record.begin
            elif record.kind in (SCHEMA, CHANNEL):
                size = min(record.end - record.start, MAX_NAMES_BYTES)
                self._define(record.kind, self._read(record.start, size), record.begin)
        else:
            self._damaged(self.size, 0, 'the end mark of a complete file is missing')
        for place in sorted(self._indexed):  # that damage has hidden
            with suppress(*UNREADABLE):
                record = self._record(self._read, place, self.size)
                if record.kind == CHUNK and record.certain:
                    yield self._chunk_time(record), place

    def _chunk_time(self, record: Record) -> int:
        return int.from_bytes(self._read(record.start, 8), 'little')

    def _load(self, place: int, wanted: Collection[str] | None) -> Iterator[Message]:
        end = self._ends.get(place)
        record = self._record(self._read, place, self.size)._replace(begin=place)
        record = record if end is None else record._replace(end=end)
        if record.kind == MESSAGE:
            size = record.end - record.start
            self._bound('max_message_mb', size, place)
            yield from self._message(self._read(record.start, size), place, wanted)
            return
        records, cut = self._chunk(record)
        view = memoryview(records)
        for inner in self._walk(
            lambda at, count: view[at : at + count], 0, len(view), place, cut=cut
        ):
            content = view[inner.start : inner.end]
            self._spend(RECORD_COST)
            if inner.kind == MESSAGE:
                yield from self._message(content, place, wanted)
            elif inner.kind in (SCHEMA, CHANNEL):
                self._define(inner.kind, bytes(content[:MAX_NAMES_BYTES]), place)

    def _message(
        self, content: Buffer, place: int, wanted: Collection[str] | None
    ) -> Iterator[Message]:
        if len(content) < MESSAGE_BYTES:
            self._damaged(place, len(content), 'a message has no header')
            return
        key, _, time_ns = struct.unpack_from('<HIQ', content)
        if key not in self._channels:
            self._damaged(place, len(content), f'a message has the unknown channel {key}')
        elif wanted is None or self._channels[key][0] in wanted:
            data = content[MESSAGE_BYTES:]
            topic, msgtype, serialization = self._channels[key]
            yield Message(topic, msgtype, serialization, time_ns, data)

    def _chunk(self, record: Record) -> tuple[Buffer, bool]:
        """Return the records in a chunk, and whether it is known that some are missing."""
        place, length = record.begin, record.end - record.start
        self._bound('max_chunk_mb', length, place)
        content = memoryview(self._read(record.start, length))
        _, _, expanded, crc = struct.unpack_from('<QQQI', content)
        compression, position = _string(content, 28)
        (packed_bytes,) = struct.unpack_from('<Q', content, position)
        packed = content[position + 8 : position + 8 + packed_bytes]
        records, wrong = self._expand(packed, compression, 'max_chunk_mb', expanded, place)
        if len(packed) < packed_bytes:
            wrong = 'a chunk is longer than the rest of the file'
        elif not wrong and crc and zlib.crc32(records) != crc:
            self._damaged(place, length, 'the checksum of a chunk is wrong')
            return b'', True
        if wrong:
            rest = length * (1 - len(records) / max(expanded, len(records), 1))
            self._damaged(place, round(rest), wrong)
        return records, bool(wrong)

    def _is_counted(self) -> bool:
        if not self._read_summary():
            return False
        if not self._summary_is_checked:
            # the names are compared with those in the data
            for _, place in self._blocks(()):
                if self._defined >= self._channels.keys():
                    break
                for _ in self._loaded(place, ()):
                    pass
        return True

    def _read_summary(self) -> bool:
        """Read the names at the end of the file, and return whether it has counts too."""
        at = self.size - FOOTER_BYTES
        footer = self._read(max(at, 0), FOOTER_BYTES)
        if at < 0 or footer[0] != FOOTER or footer[-len(MAGIC) :] != MAGIC:
            return False
        start, _, crc = struct.unpack_from('<QQI', footer, HEADER_BYTES)
        if not 0 < start < at:
            return False
        summary = self._read(start, min(at - start, MAX_SUMMARY_BYTES))
        self._summary_is_checked = crc != 0 and zlib.crc32(footer[:25], zlib.crc32(summary)) == crc
        counted, damages = False, len(self.damages)
        for record in self._walk(
            lambda at, count: summary[at : at + count], 0, len(summary), start, cut=True
        ):
            content = summary[record.start : record.end]
            if record.kind in (SCHEMA, CHANNEL):
                self._define(record.kind, content, start, True)
            elif record.kind == CHUNK_INDEX and len(content) >= 24:
                self._indexed.add(int.from_bytes(content[16:24], 'little'))
            elif record.kind == STATISTICS and len(content) % 10 == 6:
                self._counts = Counter(dict(struct.iter_unpack('<HQ', content[46:])))
                counted = self._counts.total() == int.from_bytes(content[:8], 'little')
        del self.damages[damages:]  # nothing is lost with it
        return counted

    def _define(self, kind: int, content: bytes, place: int, summary: bool = False) -> None:
        """Keep a schema or channel; what a checksum covers goes before what none does."""
        try:
            if kind == SCHEMA:
                (key,) = struct.unpack_from('<H', content)
                name, _ = _string(content, 2)
                if self._is_better(self._schemas.get(key), normal_type(name), summary):
                    self._schemas[key] = normal_type(name)
                return
            key, schema = struct.unpack_from('<HH', content)
            topic, position = _string(content, 4)
            serialization, _ = _string(content, position)
        except UNREADABLE as error:
            self._damaged(place, len(content), f'a record is unreadable: {error}')
            return
        msgtype = self._schemas.get(schema, '')
        old = self._channels[key][1] if key in self._channels else None
        self._defined |= set() if summary else {key}
        if self._is_better(old, msgtype, summary):
            self._channels[key] = topic, msgtype, serialization

    def _is_better(self, old: str | None, new: str, summary: bool) -> bool:
        if old is None or summary:
            return True
        return not self._summary_is_checked and (new in IMAGE_TYPES or old not in IMAGE_TYPES)


def _string(content: Buffer, position: int) -> tuple[str, int]:
    """Return a string and the position after it."""
    (length,) = struct.unpack_from('<I', content, position)
    end = position + 4 + length
    if end > len(content):
        msg = f'a string of {length} bytes does not fit its record'
        raise ValueError(msg)
    return bytes(content[position + 4 : end]).decode(), end
