"""
SIGINT and SIGTERM as a request to stop, which a program meets where it can do so in order.

ROS's own handlers shut down its context instead, at an arbitrary line: whatever the program does
next fails, and the thread they start aborts a process that ends at that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
import os
import signal
import threading

NUMBERS = (signal.SIGINT, signal.SIGTERM)
THREAD_NAME = 'stop signals'
_arrived: list[int] = []
_wakers: list[Callable[[], object]] = []


def stop_requested() -> bool:
    """Return whether a signal has asked this process to stop."""
    return bool(_arrived)


@cache
def catch_stop_signals() -> None:
    """Take every SIGINT and SIGTERM from now on as a request to stop, once per process."""
    for number in NUMBERS:
        signal.signal(number, lambda number, frame: _arrived.append(number))
    # Python runs a handler once the main thread is back from a library; a thread need not wait.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name=THREAD_NAME, daemon=True).start()


def ignore_stop_signals() -> None:
    """Let nothing disturb the end of this process, which has finished its work in order."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def _watch(reader: int) -> None:
    while arrived := set(os.read(reader, 64)):
        if arrived.isdisjoint(NUMBERS):
            continue
        _arrived.extend(arrived)
        for wake in list(_wakers):
            with suppress(Exception):  # of what is being destroyed at this moment
                wake()


@contextmanager
def woken_by_stop(wake: Callable[[], object]) -> Iterator[None]:
    """Call a function, in another thread, when a stop is requested within the block."""
    _wakers.append(wake)
    try:
        yield
    finally:
        _wakers.remove(wake)
