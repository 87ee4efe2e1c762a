"""The inference thread, and the hand-over to it: only the newest item of each source."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
import threading
import time
from typing import Generic, NamedTuple, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from keypoint_perception.ros.perception.camera import QueuedImage
    from keypoint_perception.ros.perception.pipeline import Pipeline

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
            until_s = self._first_put_s + budget_s
            left_s = until_s - time.monotonic() if budget_s > 0 else 0.0
            if left_s > 0:
                self._changed.wait_for(lambda: cancelled() or self._is_complete(until_s), left_s)
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


class InferenceWorker:
    """
    Runs the newest images through a pipeline, never more than one per camera at a time.

    :param batch_budget_s: returns how long an image may wait for those of other cameras
    :param predecessor: a worker on the same buffer that has to finish before this one starts
    """

    def __init__(
        self,
        latest_buffer: LatestBuffer[QueuedImage],
        pipeline: Pipeline,
        batch_budget_s: Callable[[], float] = lambda: 0.0,
        predecessor: InferenceWorker | None = None,
    ) -> None:
        self._latest_buffer = latest_buffer
        self._pipeline = pipeline
        self._batch_budget_s = batch_budget_s
        self._predecessor = predecessor
        self._stopped = threading.Event()
        self._successor_may_start = threading.Event()
        self._exited: Future[None] = Future()
        # A daemon thread, so that a hanging engine cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._predecessor is not None:
            self._predecessor._successor_may_start.wait()
            self._predecessor = None
        try:
            while images := self._latest_buffer.take_all(
                budget_s=self._batch_budget_s(), cancelled=self._stopped.is_set
            ):
                self._pipeline.process(images)
        finally:
            self._successor_may_start.set()
            self._exited.set_result(None)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Stop after the images in progress; return whether the thread exited in time."""
        self._stopped.set()
        self._latest_buffer.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def retire(self, on_exit: Callable[[], None]) -> None:
        """
        Stop after the images in progress, without waiting.

        :param on_exit: called in the thread when it exits, or at once if it has exited
        """
        self._exited.add_done_callback(lambda _: on_exit())
        self.stop(0.0)

    def abandon(self) -> None:
        """Give up a thread that hangs: publish nothing more of it and let a successor start."""
        self._pipeline.close()
        self._successor_may_start.set()
