"""What the readers of damaged and unfinished recordings have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from keypoint_perception.frames.message import Message


class Damage(NamedTuple):
    """
    One damaged part of a file.

    :param place: where it starts, as ``'byte 1,234'`` or ``'row 12'``
    :param lost: bytes that could not be used; 0 if unknown
    :param reason: what is wrong there, as a clause
    """

    place: str
    lost: int
    reason: str


class SalvageReader(ABC):
    """
    Reader of one damaged file.

    :param damages: those that :meth:`messages` has met
    :param topics: types of messages by topic, likewise
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.damages: list[Damage] = []
        self.topics: dict[str, str] = {}

    @abstractmethod
    def messages(self) -> Iterator[Message]:
        """Yield all messages that can be read."""

    def report(self, name: str, images: int) -> str:
        """Return a sentence on what was lost and where, and how many images could be read."""
        first, lost = self.damages[0], sum(damage.lost for damage in self.damages)
        more = f'; damaged parts: {len(self.damages)}' if len(self.damages) > 1 else ''
        cost = f'about {lost:,} bytes are lost' if lost else 'the extent of the loss is unknown'
        return (
            f'{name!r} is damaged at {first.place} ({first.reason}{more}): {cost}; readable '
            f'images: {images}.'
        )


class RecordReader(SalvageReader):
    """
    Reader of a format that is a sequence of records after a magic number.

    Reading them in the order of the file needs no index, which a recorder that crashed has not
    written.
    """

    magic: bytes

    def messages(self) -> Iterator[Message]:
        with self.path.open('rb') as stream:
            if stream.read(len(self.magic)) == self.magic:
                yield from self._records(stream)
            else:
                self._damaged(0, self.size, f'it does not start as {self.path.suffix} files do')

    @abstractmethod
    def _records(self, stream: BinaryIO) -> Iterator[Message]:
        """Yield the messages of a file that was read up to its first record."""

    def _damaged(self, offset: int, lost: int, reason: str) -> None:
        self.damages.append(Damage(f'byte {offset:,}', lost, reason))
