"""The inference thread."""

from __future__ import annotations

from collections.abc import Callable
import threading

from keypoint_perception.ros.mailbox import Mailbox


class Worker:
    """
    Processes the newest items, and never more than one of each sender at a time.

    :param process: called in the thread, with the items that are there together
    :param budget_s: tells how long an item may wait for those of other senders
    """

    def __init__(
        self,
        mailbox: Mailbox,
        process: Callable[[list], None],
        budget_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._mailbox = mailbox
        self._process = process
        self._budget_s = budget_s
        self._stopped = threading.Event()
        # A daemon, so that an engine that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        def take():
            return self._mailbox.take(budget_s=self._budget_s(), given_up=self._stopped.is_set)

        while items := take():
            self._process(items)

    def stop(self, timeout_s: float) -> bool:
        """End after the items in work; return whether the thread has ended in time."""
        self._stopped.set()
        self._mailbox.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()
