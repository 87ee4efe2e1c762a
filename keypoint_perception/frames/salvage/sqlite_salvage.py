"""
Messages of a SQLite3 bag, intact, unfinished or damaged.

Rows are read by their number, which needs no index and works after a broken page too. Only what
tables store is read: views, virtual tables and generated columns could run anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
import sqlite3
import struct
from urllib.parse import quote

from keypoint_perception.frames.message import Message, normal_type
from keypoint_perception.frames.salvage.salvage_reader import MEGA, SalvageReader
from keypoint_perception.limits import limits

MAX_BROKEN_ROWS = 20_000  # in a row, after which the rest is given up
MAX_TOPICS = 10_000
MAX_STEPS = 1_000_000  # of SQLite's virtual machine per row
TABLE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND lower(name) = ?"
TOPICS = 'SELECT rowid, name, type, {} FROM topics NOT INDEXED LIMIT ?'
ROWS = 'SELECT rowid, topic_id, timestamp FROM messages NOT INDEXED WHERE rowid > ? ORDER BY rowid'
ROW = 'SELECT topic_id, timestamp FROM messages NOT INDEXED WHERE rowid = ?'
DATA = (
    'SELECT topic_id, timestamp, length(data), '
    "CASE WHEN typeof(data) = 'blob' AND length(data) <= ? THEN data END "
    'FROM messages NOT INDEXED WHERE rowid = ?'
)
COLUMNS = {'topics': {'name', 'type'}, 'messages': {'topic_id', 'timestamp', 'data'}}


class SqliteSalvage(SalvageReader):
    """Reader of one SQLite3 bag."""

    _connection: sqlite3.Connection
    _has_stepped = False

    @contextmanager
    def _opened(self) -> Iterator[None]:
        # A recorder that crashed may leave its last rows in a write-ahead log beside the file,
        # which an "immutable" database ignores.
        log = self.path.with_name(self.path.name + '-wal')
        log_bytes = log.stat().st_size if log.is_file() else 0
        immutable = '' if log_bytes else '&immutable=1'
        address = f'file:{quote(str(self.path.resolve()))}?mode=ro{immutable}'
        with super()._opened(), closing(sqlite3.connect(address, uri=True)) as connection:
            self._connection, self._stored = connection, self.size + log_bytes
            # Otherwise SQLite refuses every page of a file that is shorter than its first page
            # states.
            connection.execute('PRAGMA writable_schema = ON')
            connection.set_progress_handler(self._is_stuck, MAX_STEPS)
            connection.set_authorizer(_authorize)
            yield

    def _is_stuck(self) -> bool:
        stuck, self._has_stepped = self._has_stepped, True
        return stuck

    def _is_counted(self) -> bool:
        for _ in self._blocks(None):
            pass
        return not self.damages

    def _blocks(self, wanted: Collection[str] | None) -> Iterator[tuple[int, int]]:
        try:
            self._read_topics()
        except sqlite3.Error as error:
            self._damaged(0, self.size, f'its tables are unreadable: {error}')
            return
        header = self._read(0, 100)
        page, pages = struct.unpack_from('>H10xI', header, 16)
        page = page if page > 1 else 1 << 16
        absent = page * pages - self._stored
        if absent > 0 and header[24:28] == header[92:96]:
            self._damaged(self.size, absent, 'it is shorter than its header states')
        elif self.size % page:
            self._damaged(self.size, 0, f'it has {self.size % page} bytes that are in no page')
        for key, topic, time_ns in self._rows():
            self._has_stepped = False
            if not isinstance(time_ns, int) or topic not in self._channels:
                self._damaged(f'row {key}', 0, 'a row has no known topic or no time')
            elif wanted is None or self._channels[topic][0] in wanted:
                self._counts[topic] += 1
                yield time_ns, key

    def _rows(self) -> Iterator[tuple[int, int, int]]:
        """Yield number, topic and time of all rows, in sequence as long as there are no gaps."""
        last = missing = 0
        following: int | None = last
        while following is not None:
            following = None
            try:
                for row in self._connection.execute(ROWS, (last,)):
                    if row[0] != last + 1:
                        following = row[0]
                        break
                    last = row[0]
                    yield row
                else:
                    break
            except sqlite3.Error as error:
                # SQLite does not tell which page failed; a row can be looked up
                self._damaged(f'row {last}', 0, f'rows after it are unreadable: {error}')
            key = last + 1
            while key != following and key - last <= MAX_BROKEN_ROWS:
                with suppress(sqlite3.Error):
                    row = self._connection.execute(ROW, (key,)).fetchone()
                    if row:
                        missing += key - last - 1
                        last = key
                        yield (key, *row)
                key += 1
            if following is not None and following > last:
                missing += following - last - 1
                last = following - 1
            else:
                following = None
        if missing:
            reason = f'{missing} of its rows are missing, lost or deleted'
            self._damaged(0, 0, reason, refused=True)

    def _load(self, place: int, wanted: Collection[str] | None) -> Iterator[Message]:
        del wanted
        most = min(self._stored, int(limits().max_message_mb * MEGA))
        self._has_stepped = False
        try:
            row = self._connection.execute(DATA, (most, place)).fetchone()
        except sqlite3.Error as error:
            self._damaged(f'row {place}', 0, f'it is unreadable: {error}')
            return
        if row is None or row[3] is None:
            size = row[2] if row else None
            if isinstance(size, int) and size <= self._stored:
                self._bound('max_message_mb', size, f'row {place}')
            self._damaged(f'row {place}', 0, 'a row has no data')
            return
        topic, time_ns, size, data = row
        self._spend(size)
        if topic in self._channels and isinstance(time_ns, int):
            yield Message(*self._channels[topic], time_ns, data)

    def _read_topics(self) -> None:
        columns: dict[str, set[str]] = {}
        for table, needed in COLUMNS.items():
            if self._connection.execute(TABLE, (table,)).fetchone():
                about = self._connection.execute(f'PRAGMA table_xinfo({table})').fetchall()
                columns[table] = {name for _, name, *_, hidden in about if not hidden}
            if not needed <= columns.get(table, set()):
                expected = ', '.join(sorted(needed))
                raise sqlite3.DatabaseError(f'{table!r} is no table with columns {expected}')
        stated = 'serialization_format'
        query = TOPICS.format(stated if stated in columns['topics'] else "'cdr'")
        for key, name, kind, serialization in self._connection.execute(query, (MAX_TOPICS,)):
            if isinstance(name, str) and isinstance(kind, str):
                self._channels[key] = name, normal_type(kind), serialization


def _authorize(
    action: int, first: str | None, second: str | None, _: str | None, view: str | None
) -> int:
    """Allow only what the queries above do, and nothing that the file defines."""
    if view is None and (
        action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
        or (action == sqlite3.SQLITE_PRAGMA and first == 'table_xinfo')
        or (action == sqlite3.SQLITE_FUNCTION and second in ('length', 'typeof', 'lower'))
    ):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
