"""The hand-over to the inference thread: one place, the newest image only."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Mailbox(Generic[Item]):
    """
    Holds at most one item; a newer one takes the place of an older one.

    However slow the taking thread is, nothing queues up, and it always gets the newest.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: Item | None = None
        self._closed = False

    def put(self, item: Item) -> bool:
        """Leave an item; return whether it took the place of one that nobody had taken."""
        with self._changed:
            replaced = self._item is not None
            self._item = item
            self._changed.notify()
        return replaced

    def take(self) -> Item | None:
        """Wait for an item; return None when the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
        return None if self._closed else item

    def close(self) -> None:
        """Let the waiting thread go; what was left is thrown away."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
