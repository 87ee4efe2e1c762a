"""
Messages of a damaged or unfinished SQLite3 bag.

Rows are read in the order in which they were written, one by one: that needs no index and gets
as far as the first page that is broken or missing. Rows behind a broken page are tried too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import sqlite3
from urllib.parse import quote

from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.damage import Damage

# rows tried behind a broken one before the rest is given up
PATIENCE = 200


class SqliteSalvage:
    """
    One damaged SQLite3 bag.

    :param damages: what :meth:`messages` found, complete when it has ended
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damages: list[Damage] = []
        self.topics: dict[str, str] = {}

    def messages(self) -> Iterator[Message]:
        """Yield the messages in the order in which they were written."""
        self.damages.clear()
        connection = self._connect()
        try:
            topics = self._read_topics(connection)
            if topics:
                yield from self._rows(connection, topics)
        finally:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        # A recorder that crashed may leave its last rows in a write-ahead log beside the file,
        # which an "immutable" database does not look at.
        log = self.path.with_name(self.path.name + '-wal')
        immutable = '' if log.is_file() and log.stat().st_size else '&immutable=1'
        address = f'file:{quote(str(self.path.resolve()))}?mode=ro{immutable}'
        connection = sqlite3.connect(address, uri=True)
        # Without it SQLite refuses every page of a file that is shorter than its first page says.
        connection.execute('PRAGMA writable_schema = ON')
        return connection

    def _read_topics(self, connection: sqlite3.Connection) -> dict[int, tuple[str, str]]:
        try:
            rows = connection.execute('SELECT id, name, type FROM topics').fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            size = self.path.stat().st_size
            self.damages.append(
                Damage('byte 0', size, f'its table of topics cannot be read: {error}')
            )
            return {}
        topics = {
            key: (name, normal_type(kind))
            for key, name, kind in rows
            if isinstance(name, str) and isinstance(kind, str)
        }
        self.topics = dict(topics.values())
        return topics

    def _rows(self, connection: sqlite3.Connection, topics: dict) -> Iterator[Message]:
        query = 'SELECT id, topic_id, timestamp, data FROM messages WHERE id > ? ORDER BY id'
        last, missed = 0, 0
        while True:
            try:
                for key, topic_id, time_ns, data in connection.execute(query, (last,)):
                    if key <= last:  # a broken tree can lead in circles
                        return
                    last, missed = key, 0
                    if topic_id in topics and isinstance(data, bytes):
                        yield Message(*topics[topic_id], 'cdr', int(time_ns), data)
            except (sqlite3.Error, UnicodeDecodeError, ValueError) as error:
                if not missed:
                    self._report(last, error)
                last, missed = last + 1, missed + 1
                if missed > PATIENCE:
                    return
            else:
                return

    def _report(self, row: int, error: Exception) -> None:
        # SQLite does not say which page failed; the row is what a reader can look up
        reason = f'behind that row it cannot be read: {error}'
        self.damages.append(Damage(f'row {row}', 0, reason))
