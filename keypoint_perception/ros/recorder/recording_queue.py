"""The queue between the subscriptions and the disk, bounded in bytes."""

from __future__ import annotations

from collections import deque
import threading
from typing import NamedTuple, TYPE_CHECKING

if TYPE_CHECKING:
    from keypoint_perception.ros.recorder.topic_subscription import TopicSubscription


class QueuedMessage(NamedTuple):
    """A received message that has not been written yet: times of reception and publication."""

    topic: TopicSubscription
    log_ns: int
    publish_ns: int
    data: bytes


class RecordingQueue:
    """
    Passes messages from the executor's thread to the writing thread.

    :param max_bytes: capacity; a single message may exceed it
    :ivar closed: whether further messages are refused
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._items: deque[QueuedMessage] = deque()
        self._changed = threading.Condition()
        self.closed = False

    def put(self, item: QueuedMessage) -> bool:
        """Add a message; return False if the queue is full or closed."""
        with self._changed:
            if self.closed or (self._items and self._bytes + len(item.data) > self._max_bytes):
                return False
            self._items.append(item)
            self._bytes += len(item.data)
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> QueuedMessage | None:
        """Return the oldest message; None after the timeout, or if closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self.closed, timeout_s)
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= len(item.data)
            return item

    @property
    def exhausted(self) -> bool:
        with self._changed:
            return self.closed and not self._items

    def close(self) -> None:
        """Refuse further messages; queued ones can still be taken."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
