"""
Files that are a sequence of records after a magic number, as MCAP and ROS 1 bags.

After a damaged record, reading continues at the next place where two records follow each other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
import re
from typing import ClassVar, NamedTuple

from keypoint_perception.frames.salvage.salvage_reader import SalvageReader, UNREADABLE

WINDOW, OVERLAP = 1 << 20, 256
ZEROS = bytes(WINDOW)
MAX_CANDIDATES = 300_000
MAX_SEARCHED_BYTES = 1 << 29

Read = Callable[[int, int], 'bytes | memoryview']


class Record(NamedTuple):
    """
    One record.

    :param begin: where its header is; its content is from ``start`` to ``end``
    :param certain: whether its length is known from two places
    """

    kind: int
    fields: dict[bytes, bytes]
    begin: int
    start: int
    end: int
    certain: bool = False


class RecordReader(SalvageReader):
    """Reader of such a file."""

    magic: ClassVar[bytes]
    candidate: ClassVar[re.Pattern[bytes]]  # what records contain

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._candidates, self._searchable = MAX_CANDIDATES, MAX_SEARCHED_BYTES
        self._ends: dict[int, int] = {}  # of records whose length is wrong

    @abstractmethod
    def _record(self, read: Read, at: int, size: int) -> Record:
        """
        Return the record at an offset of a file or chunk of a size.

        :raises Exception: one of UNREADABLE if there is none
        """

    @abstractmethod
    def _begins(self, read: Read, found: int) -> Iterator[int]:
        """Yield where a record may begin that contains a candidate at an offset."""

    def _records(self) -> Iterator[Record]:
        """Yield the records of the file."""
        if self._read(0, len(self.magic)) != self.magic:
            reason = f'it does not start as {self.path.suffix} files do'
            self._damaged(0, len(self.magic), reason)
        yield from self._walk(self._read, len(self.magic), self.size)

    def _walk(
        self, read: Read, at: int, size: int, place: int | None = None, *, cut: bool = False
    ) -> Iterator[Record]:
        """
        Yield the records of the file or of one chunk.

        :param place: the chunk's
        :param cut: whether an incomplete record at its end is known already
        """
        previous: Record | None = None
        while at < size:
            try:
                record = self._record(read, at, size)
            except UNREADABLE as error:
                # the length of the record before may be what is wrong
                begin = at if previous is None or previous.certain else previous.begin
                found = self._next(read, begin + 1, size)
                if previous is not None and found < at:
                    previous = previous._replace(end=max(found, previous.start))
                    self._ends[previous.begin] = previous.end
                if not cut or found < size:
                    where = at if place is None else place
                    self._damaged(where, max(found - at, 0), f'a record is unreadable: {error}')
                at = found
                if previous is not None:
                    yield previous
                previous = None
                continue
            if previous is not None:
                yield previous
            previous, at = record, record.end
        if previous is not None:
            yield previous

    def _next(self, read: Read, at: int, size: int) -> int:
        """Return where the next two records follow each other, or the size."""
        while at < size and self._searchable > 0:
            window = bytes(read(at, WINDOW))
            if window == ZEROS[: len(window)]:
                at += WINDOW - OVERLAP
                continue
            self._searchable -= WINDOW
            for match in self.candidate.finditer(window):
                for begin in self._begins(read, at + match.start()):
                    self._candidates -= 1
                    if self._candidates < 0:
                        return size
                    if begin >= at and self._is_record(read, begin, size):
                        return begin
            at += WINDOW - OVERLAP
        return size

    def _is_record(self, read: Read, at: int, size: int) -> bool:
        try:
            record = self._record(read, at, size)
            return (
                record.certain or record.end == size or bool(self._record(read, record.end, size))
            )
        except UNREADABLE:
            return False
