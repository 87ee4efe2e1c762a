"""The inference thread."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Protocol

from keypoint_perception.ros.perception.latest_buffer import LatestBuffer


class Way(Protocol):
    """What a worker does with items."""

    def process(self, items: list) -> None:
        """Do all there is to do with the items that are there together."""

    def close(self) -> None:
        """Let nothing more come out, from whatever thread."""


class Worker:
    """
    Processes the newest items, and never more than one of each sender at a time.

    :param budget_s: tells how long an item may wait for those of other senders
    :param after: a worker on the same latest_buffer whose last items come first
    """

    def __init__(
        self,
        latest_buffer: LatestBuffer,
        way: Way,
        budget_s: Callable[[], float] = lambda: 0.0,
        *,
        after: Worker | None = None,
    ) -> None:
        self._latest_buffer = latest_buffer
        self._way = way
        self._budget_s = budget_s
        self._after = after
        self._stopped = threading.Event()
        self._out_of_the_way = threading.Event()
        self._lock = threading.Lock()
        self._ended = False
        self._at_end: Callable[[], None] | None = None
        # A daemon, so that an engine that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._after is not None:
            self._after._out_of_the_way.wait()
            self._after = None
        try:
            while items := self._take():
                self._way.process(items)
        finally:
            self._out_of_the_way.set()
            with self._lock:
                self._ended = True
            if self._at_end is not None:
                self._at_end()

    def _take(self) -> list:
        return self._latest_buffer.take(budget_s=self._budget_s(), given_up=self._stopped.is_set)

    @property
    def alive(self) -> bool:
        """Return whether the thread has not ended yet."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """End after the items in work; return whether the thread has ended in time."""
        self._stopped.set()
        self._latest_buffer.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def release(self, at_end: Callable[[], None]) -> None:
        """
        End after the items in work, without waiting for it.

        :param at_end: called then, in the thread; gives back what only the thread may
        """
        with self._lock:
            ended = self._ended
            if not ended:
                self._at_end = at_end
        if ended:
            at_end()
        self._stopped.set()
        self._latest_buffer.wake()

    def abandon(self) -> None:
        """Expect nothing more of a thread that hangs; a worker after this one goes on."""
        self._way.close()
        self._out_of_the_way.set()
