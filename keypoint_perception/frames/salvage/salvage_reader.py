"""
What the readers of storage files have in common, whether these are intact, damaged or hostile.

A file is read in two steps: a walk finds its blocks (chunks, or messages that are in none) and the
times at which they begin, and then one block after another is read by time. The walk needs no
index, which may be missing or wrong. Nothing that a file states is believed before it is compared
with what the file holds, and what is decompressed is bounded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
import heapq
import os
from pathlib import Path
import struct
from typing import NamedTuple

from keypoint_perception.cdr import Buffer
from keypoint_perception.frames.message import Message
from keypoint_perception.frames.salvage.partial_decompression import (
    ANY_TIMES,
    claimed_size,
    decompress_prefix,
    EXPANSION,
    max_expanded,
    ZSTD_MAGIC,
)
from keypoint_perception.limits import limits, remedy
import numpy as np

MEGA = 1_000_000
# Messages of blocks that overlap in time wait for each other; beyond this, the oldest are given.
WAITING_BYTES = 64 * MEGA
RECORD_COST = 4096  # what a record in a chunk counts for besides its bytes
UNREADABLE = (LookupError, struct.error, ValueError, OSError)


class Damage(NamedTuple):
    """
    One part of a file that is not used.

    :param place: where it starts, as ``'byte 1,234'`` or ``'row 12'``
    :param lost: bytes that could not be used; 0 if unknown
    :param reason: what is wrong there, as a clause
    :param refused: whether it is too large rather than damaged
    """

    place: str
    lost: int
    reason: str
    refused: bool = False


class RefusedError(Exception):
    """What is too large to be read has been noted."""


class SalvageReader(ABC):
    """
    Reader of one file.

    :param damages: those that :meth:`messages` has met
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.damages: list[Damage] = []
        self._expandable = max_expanded(self.size)
        self._file = -1
        # topic, type and serialization by the key that messages refer to
        self._channels: dict[Hashable, tuple[str, str, str]] = {}
        self._counts: Counter[Hashable] = Counter()

    @property
    def topics(self) -> dict[str, str]:
        """Return the types of messages by topic, as far as :meth:`messages` has met them."""
        return {topic: msgtype for topic, msgtype, _ in self._channels.values()}

    def announced(self) -> dict[str, int] | None:
        """Return the number of messages by topic without reading them, None if it is uncertain."""
        with self._opened():
            if not self._is_counted() or self.damages or not self._channels:
                return None
        counts = dict.fromkeys(self.topics, 0)
        for key, (topic, _, _) in self._channels.items():
            counts[topic] += self._counts[key]
        return counts

    def messages(self, wanted: Collection[str] | None = None) -> Iterator[Message]:
        """Yield all messages on some topics, None for all, that can be read, by time."""
        with self._opened():
            for message in self._by_time(wanted):
                try:
                    yield self._without_compression(message)
                except RefusedError:
                    continue

    @abstractmethod
    def _is_counted(self) -> bool:
        """Find the channels and counts of messages, and return whether these can be relied on."""

    @abstractmethod
    def _blocks(self, wanted: Collection[str] | None) -> Iterator[tuple[int, int]]:
        """Yield for each block the time of its first message, ns, and its place."""

    @abstractmethod
    def _load(self, place: int, wanted: Collection[str] | None) -> Iterator[Message]:
        """Yield the messages of a block."""

    @contextmanager
    def _opened(self) -> Iterator[None]:
        with self.path.open('rb', buffering=0) as file:
            self._file = file.fileno()
            yield

    def _by_time(self, wanted: Collection[str] | None) -> Iterator[Message]:
        times, places = array('q'), array('q')
        for time_ns, place in self._blocks(wanted):
            times.append(min(time_ns, 2**63 - 1))
            places.append(place)
        # Without names at the end of the file, they are in the blocks, and in that order.
        order = np.argsort(np.frombuffer(times, np.int64), kind='stable')
        waiting: list[tuple[int, int, Message]] = []
        number = size = 0
        for index in order if self._channels else range(len(times)):
            while waiting and (waiting[0][0] <= times[index] or size > WAITING_BYTES):
                message = heapq.heappop(waiting)[2]
                size -= len(message.data)
                yield message
            for message in self._loaded(places[index], wanted):
                number += 1
                size += len(message.data)
                heapq.heappush(waiting, (message.time_ns, number, message))
        while waiting:
            yield heapq.heappop(waiting)[2]

    def _loaded(self, place: int, wanted: Collection[str] | None) -> Iterator[Message]:
        try:
            yield from self._load(place, wanted)
        except RefusedError:
            return
        except UNREADABLE as error:
            self._damaged(place, 0, f'a record is unreadable: {error}')

    def _read(self, offset: int, count: int) -> bytes:
        """Read bytes, fewer at the end of the file."""
        count = min(count, self.size - offset)
        try:
            return os.pread(self._file, count, offset) if count > 0 else b''
        except OSError:  # a bad sector
            return b''

    def _without_compression(self, message: Message) -> Message:
        """Return a message without compression of its own, which files do not announce."""
        data, place = message.data, f'time {message.time_ns}'
        self._bound('max_message_mb', len(data), place)
        if message.serialization == 'cdr' and data[:4] == ZSTD_MAGIC:
            # decoding a part of it fails and is counted
            data, _ = self._expand(data, 'zstd', 'max_message_mb', claimed_size(data), place)
        return message._replace(data=bytes(data))

    def _expand(
        self, packed: Buffer, compression: str, name: str, claimed: int, place: int | str
    ) -> tuple[Buffer, str]:
        """
        Return what can be decompressed, and what is wrong with the rest.

        :param name: of the limit
        :param claimed: size, which says no more than what to set the limit to
        """
        if compression in ('', 'none'):
            return packed, ''
        most = min(int(getattr(limits(), name) * MEGA), self._expandable) + 1
        whole, wrong = decompress_prefix(packed, compression, most)
        self._spend(len(whole))
        self._bound(name, len(whole), place, claimed)
        return whole, wrong

    def _spend(self, count: int) -> None:
        """Take from what the file may expand to."""
        self._expandable -= count
        if self._expandable >= 0:
            return
        self._expandable = 0
        times = limits().max_expansion
        reason = (
            f'it expands to more than {times:g} times its size; {remedy(EXPANSION, ANY_TIMES)}'
        )
        damage = Damage('', 0, reason, refused=True)
        if damage not in self.damages:
            self.damages.append(damage)
        raise RefusedError

    def _bound(self, name: str, size: int, place: int | str, claimed: int = 0) -> None:
        most_mb = getattr(limits(), name)
        if size > most_mb * MEGA:
            what = 'message' if name == 'max_message_mb' else 'chunk'
            needed = remedy(name, max(size, claimed) / MEGA)
            reason = f'a {what} has more than {most_mb:g} MB; {needed}'
            self._damaged(place, 0, reason, refused=True)
            raise RefusedError

    def _damaged(self, place: int | str, lost: int, reason: str, *, refused: bool = False) -> None:
        name = place if isinstance(place, str) else f'byte {place:,}'
        self.damages.append(Damage(name, lost, reason, refused))

    def report(self, name: str, images: int) -> str:
        """Return a sentence on what was lost and where, and how many images could be read."""
        first, lost = self.damages[0], sum(damage.lost for damage in self.damages)
        more = f'; damaged parts: {len(self.damages)}' if len(self.damages) > 1 else ''
        cost = f'about {lost:,} bytes are lost' if lost else 'the extent of the loss is unknown'
        problem = 'is not read whole' if first.refused else f'is damaged at {first.place}'
        return f'{name!r} {problem} ({first.reason}{more}): {cost}; readable images: {images}.'
