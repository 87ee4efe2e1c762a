"""The hand-over to the inference thread: only the newest item of each source."""

from __future__ import annotations

from collections.abc import Callable, Hashable
import threading
import time
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar('Item')


class ArrivalTiming(NamedTuple):
    """When a source last sent an item, and the interval before that, in seconds."""

    last_s: float
    interval_s: float

    def is_due(self, from_s: float, to_s: float) -> bool:
        """Return whether the next item is due within a period, and not long overdue."""
        next_s = self.last_s + self.interval_s
        return next_s <= to_s and from_s <= next_s + self.interval_s / 2


class LatestBuffer(Generic[Item]):
    """
    Holds at most one item per source; a newer item replaces an older one.

    Nothing queues up, however slow the consumer is. It takes the items of all sources at once, so
    that none of them waits longer than the others.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._items: dict[Hashable, Item] = {}
        self._timings: dict[Hashable, ArrivalTiming] = {}
        self._first_put_s = 0.0

    def put(self, source: Hashable, item: Item) -> bool:
        """Add an item; return whether it replaced one that was never taken."""
        with self._changed:
            now = time.monotonic()
            if not self._items:
                self._first_put_s = now
            replaced = self._items.pop(source, None) is not None
            self._items[source] = item
            previous = self._timings.get(source)
            interval_s = now - previous.last_s if previous else float('inf')
            self._timings[source] = ArrivalTiming(now, interval_s)
            self._changed.notify_all()
        return replaced

    def take_all(self, *, budget_s: float = 0.0, cancelled: Callable[[], bool]) -> list[Item]:
        """
        Block until there are items, and take them all.

        :param budget_s: how long the oldest item may wait for other sources whose next item is
            due within that time
        :param cancelled: returns whether to stop waiting; evaluated again on :meth:`notify`
        :return: the items, oldest first; empty if cancelled
        """
        with self._changed:
            self._changed.wait_for(lambda: cancelled() or self._items)
            if budget_s > 0:
                until_s = self._first_put_s + budget_s
                left_s = until_s - time.monotonic()
                if left_s > 0:
                    self._changed.wait_for(
                        lambda: cancelled() or self._is_complete(until_s), left_s
                    )
            if cancelled():
                return []
            items, self._items = list(self._items.values()), {}
        return items

    def _is_complete(self, until_s: float) -> bool:
        return not any(
            source not in self._items and timing.is_due(self._first_put_s, until_s)
            for source, timing in self._timings.items()
        )

    def remove(self, source: Hashable) -> None:
        """Discard a source's item and stop waiting for it."""
        with self._changed:
            self._items.pop(source, None)
            self._timings.pop(source, None)

    def notify(self) -> None:
        """Wake a waiting thread, so that it evaluates ``cancelled`` again."""
        with self._changed:
            self._changed.notify_all()
