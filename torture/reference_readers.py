"""
What simple readers find in damaged bags: record by record, chunk by chunk, without any repair.

Ours must give at least that. They return the serialised messages.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
import sqlite3
import struct
import zlib

import lz4.frame

MCAP_MESSAGE, MCAP_CHUNK, MCAP_END = 5, 6, 15
ROS1_MESSAGE, ROS1_CHUNK = b'\2', b'\5'


def read_mcap(path: Path) -> list[bytes]:
    """Return the data of messages whose chunks are complete and match their checksums."""
    content, found = path.read_bytes(), []
    for kind, record in _mcap_records(content, 8):
        if kind == MCAP_MESSAGE:
            found.append(record[22:])
        elif kind == MCAP_CHUNK:
            with suppress(Exception):
                found += [r[22:] for k, r in _mcap_records(_mcap_chunk(record), 0) if k == 5]
    return found


def _mcap_records(content: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + 9 <= len(content):
        kind, size = struct.unpack_from('<BQ', content, at)
        if not 1 <= kind < MCAP_END or at + 9 + size > len(content):
            return
        yield kind, content[at + 9 : at + 9 + size]
        at += 9 + size


def _mcap_chunk(record: bytes) -> bytes:
    size, checksum, length = struct.unpack_from('<QII', record, 16)
    compression = record[32 : 32 + length].decode()
    (packed,) = struct.unpack_from('<Q', record, 32 + length)
    content = _unpacked(compression, record[40 + length : 40 + length + packed])
    if len(content) != size or (checksum and zlib.crc32(content) != checksum):
        raise ValueError('a damaged chunk')
    return content


def read_ros1(path: Path) -> list[bytes]:
    """Return the data of messages in complete records."""
    found: list[bytes] = []
    with suppress(Exception):
        _read_ros1(path.read_bytes(), 13, found)
    return found


def _read_ros1(content: bytes, at: int, found: list[bytes]) -> None:
    while at + 8 <= len(content):
        (length,) = struct.unpack_from('<I', content, at)
        fields = _ros1_fields(content[at + 4 : at + 4 + length])
        (size,) = struct.unpack_from('<I', content, at + 4 + length)
        at += 8 + length
        data = content[at : at + size]
        if len(data) < size:
            return
        if fields.get(b'op') == ROS1_MESSAGE:
            found.append(data)
        elif fields.get(b'op') == ROS1_CHUNK:
            with suppress(Exception):
                _read_ros1(_unpacked(fields[b'compression'].decode(), data), 0, found)
        at += size


def _ros1_fields(header: bytes) -> dict[bytes, bytes]:
    at, fields = 0, {}
    while at < len(header):
        (size,) = struct.unpack_from('<I', header, at)
        name, _, value = header[at + 4 : at + 4 + size].partition(b'=')
        fields[name] = value
        at += 4 + size
    return fields


def read_sqlite(path: Path, messages: int) -> list[bytes]:
    """Return the data of the rows that SQLite itself gives, one by one."""
    found: list[bytes] = []
    address = f'file:{path}?immutable=1'
    with suppress(sqlite3.Error), closing(sqlite3.connect(address, uri=True)) as database:
        for number in range(1, messages + 1):
            with suppress(sqlite3.Error):
                rows = database.execute('SELECT data FROM messages WHERE id=?', (number,))
                found += [data for (data,) in rows if isinstance(data, bytes)]
    return found


def _unpacked(compression: str, content: bytes) -> bytes:
    from backports import zstd

    by_name = {'lz4': lz4.frame.decompress, 'bz2': bz2.decompress, 'zstd': zstd.decompress}
    return by_name[compression](content) if compression not in ('', 'none') else content
