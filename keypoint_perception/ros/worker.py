"""The inference thread."""

from __future__ import annotations

from collections.abc import Callable
import threading

from keypoint_perception.ros.mailbox import Mailbox


class Worker:
    """
    Processes the newest image, and never more than one at a time.

    :param process: called in the thread, with one item after another
    """

    def __init__(self, process: Callable[[object], None]) -> None:
        self._process = process
        self._mailbox: Mailbox = Mailbox()
        # A daemon, so that an engine that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (item := self._mailbox.take()) is not None:
            self._process(item)

    def put(self, item: object) -> bool:
        """Hand an item over; return whether an older one was thrown away for it."""
        return self._mailbox.put(item)

    def stop(self, timeout_s: float) -> bool:
        """End after the item in work; return whether the thread has ended in time."""
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()
