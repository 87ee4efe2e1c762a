"""The hand-over to the inference thread: the newest item of each sender, and no more."""

from __future__ import annotations

from collections.abc import Callable, Hashable
import threading
import time
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar('Item')


class Rhythm(NamedTuple):
    """When a sender last sent, and how long after the time before, in seconds."""

    last_s: float
    interval_s: float

    def due(self, from_s: float, to_s: float) -> bool:
        """Return whether the next item is to be expected by then, and not long overdue."""
        next_s = self.last_s + self.interval_s
        return next_s <= to_s and from_s <= next_s + self.interval_s / 2


class LatestBuffer(Generic[Item]):
    """
    Holds at most one item of each sender; a newer one takes the place of an older one.

    However slow the taking thread is, nothing queues up, and it always gets the newest. It takes
    the items of all senders at once, so that none of them waits longer than the others.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: dict[Hashable, Item] = {}
        self._rhythms: dict[Hashable, Rhythm] = {}
        self._first_put = 0.0

    def put(self, sender: Hashable, item: Item) -> bool:
        """Leave an item; return whether it took the place of one that nobody had taken."""
        with self._changed:
            now = time.monotonic()
            if not self._items:
                self._first_put = now
            replaced = self._items.pop(sender, None) is not None
            self._items[sender] = item
            before = self._rhythms.get(sender)
            interval_s = now - before.last_s if before else float('inf')
            self._rhythms[sender] = Rhythm(now, interval_s)
            self._changed.notify_all()
        return replaced

    def take(self, *, budget_s: float = 0.0, given_up: Callable[[], bool]) -> list[Item]:
        """
        Wait for items, and take all that are there.

        :param budget_s: how long the oldest of them may wait for those of the other senders;
            only those are waited for whose next item is due within it
        :param given_up: tells whether to wait no more; look again by :meth:`wake`
        :return: the items, oldest first; none when given up
        """
        with self._changed:
            self._changed.wait_for(lambda: given_up() or self._items)
            if budget_s > 0:
                until = self._first_put + budget_s
                left = until - time.monotonic()
                if left > 0:
                    self._changed.wait_for(lambda: given_up() or self._complete(until), left)
            if given_up():
                return []
            items, self._items = list(self._items.values()), {}
        return items

    def _complete(self, until_s: float) -> bool:
        return not any(
            sender not in self._items and rhythm.due(self._first_put, until_s)
            for sender, rhythm in self._rhythms.items()
        )

    def forget(self, sender: Hashable) -> None:
        """Throw away what is left of a sender, and wait for it no more."""
        with self._changed:
            self._items.pop(sender, None)
            self._rhythms.pop(sender, None)

    def wake(self) -> None:
        """Let a waiting thread look whether to give up."""
        with self._changed:
            self._changed.notify_all()
