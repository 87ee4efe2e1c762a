"""What waits for the disk, bounded in bytes."""

from __future__ import annotations

from collections import deque
import threading
from typing import Any, NamedTuple


class Waiting(NamedTuple):
    """
    One received message.

    :param topic: whom it belongs to
    :param log_ns: when it was received
    :param publish_ns: when it was published
    """

    topic: Any
    log_ns: int
    publish_ns: int
    data: bytes


class RecordingQueue:
    """
    Hands messages from the executor's thread to the one that writes.

    :param max_bytes: what may wait; a message alone may be larger
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._items: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Waiting) -> bool:
        """Add a message; return whether there was room."""
        with self._changed:
            if self._closed or (self._items and self._bytes + len(item.data) > self._max_bytes):
                return False
            self._items.append(item)
            self._bytes += len(item.data)
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> Waiting | None:
        """Return the oldest message, None if none came in time or none will come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= len(item.data)
            return item

    @property
    def exhausted(self) -> bool:
        """Return whether nothing waits and nothing will."""
        with self._changed:
            return self._closed and not self._items

    @property
    def closed(self) -> bool:
        """Return whether no more is taken."""
        return self._closed

    def close(self) -> None:
        """Take no more; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
