"""
Messages of a damaged or unfinished SQLite3 bag.

Rows are read one by one in the order in which they were written, which needs no index and works
up to the first broken or missing page. Rows after a broken page are tried too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
import sqlite3
from urllib.parse import quote

from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.salvage_reader import Damage, SalvageReader

MAX_BROKEN_ROWS = 200  # in a row, after which the rest is given up
ROWS = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id'


class SqliteSalvage(SalvageReader):
    """Reader of one damaged SQLite3 bag."""

    def messages(self) -> Iterator[Message]:
        with closing(self._connect()) as connection:
            topics = self._read_topics(connection)
            if topics:
                yield from self._rows(connection, topics)

    def _connect(self) -> sqlite3.Connection:
        # A recorder that crashed may leave its last rows in a write-ahead log beside the file,
        # which an "immutable" database ignores.
        log = self.path.with_name(self.path.name + '-wal')
        immutable = '' if log.is_file() and log.stat().st_size else '&immutable=1'
        address = f'file:{quote(str(self.path.resolve()))}?mode=ro{immutable}'
        connection = sqlite3.connect(address, uri=True)
        # Otherwise SQLite refuses every page of a file that is shorter than its first page states.
        connection.execute('PRAGMA writable_schema = ON')
        return connection

    def _read_topics(self, connection: sqlite3.Connection) -> dict[int, tuple[str, str]]:
        try:
            rows = connection.execute('SELECT id, name, type FROM topics').fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            reason = f'its table of topics is unreadable: {error}'
            self.damages.append(Damage('byte 0', self.size, reason))
            return {}
        topics = {
            key: (name, normal_type(kind))
            for key, name, kind in rows
            if isinstance(name, str) and isinstance(kind, str)
        }
        self.topics = dict(topics.values())
        return topics

    def _rows(
        self, connection: sqlite3.Connection, topics: dict[int, tuple[str, str]]
    ) -> Iterator[Message]:
        last, broken = 0, 0
        while broken <= MAX_BROKEN_ROWS:
            try:
                for key, topic_id, time_ns, data in connection.execute(ROWS, (last,)):
                    if key <= last:  # the links of a broken tree can form a loop
                        return
                    last, broken = key, 0
                    if topic_id in topics and isinstance(data, bytes):
                        yield Message(*topics[topic_id], 'cdr', int(time_ns), data)
                return
            except (sqlite3.Error, UnicodeDecodeError, ValueError) as error:
                if not broken:
                    # SQLite does not tell which page failed; a row can be looked up
                    reason = f'rows after it are unreadable: {error}'
                    self.damages.append(Damage(f'row {last}', 0, reason))
                last, broken = last + 1, broken + 1
