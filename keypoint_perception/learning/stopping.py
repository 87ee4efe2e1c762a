"""The end of a run: its budget is used up, or a stop is requested."""

from __future__ import annotations

import signal
import time
from typing import Any, NamedTuple


class Tail(NamedTuple):
    """The last steps of a run that ends before its budget is used up."""

    start: int
    done_before: float
    steps: int
    reason: str

    def done(self, step: int) -> float:
        """Return the share of the schedule that is passed through, in [0, 1]."""
        share = (step - self.start) / self.steps
        return min(1.0, self.done_before + (1 - self.done_before) * share)


class Budget:
    """
    Steps, minutes or both; the run ends when either is used up.

    The learning rate follows ``done``, so that it decays fully in a run of five minutes as in one
    of a thousand steps. Steps are counted over the whole run, minutes from when this process
    starts to train. Several processes share the clock of the first: with different learning
    rates, their networks would diverge.
    """

    def __init__(self, *, steps: int | None, minutes: float | None) -> None:
        assert steps is not None or minutes is not None
        self._steps = steps
        self._seconds = None if minutes is None else 60.0 * minutes
        self._shared_s: float | None = None
        self._tail: Tail | None = None
        self.start()

    def start(self) -> None:
        """Start the clock again."""
        self._started_s = time.monotonic()

    def spent_s(self) -> float:
        """Return for how long this process has been training, s."""
        return time.monotonic() - self._started_s

    def synchronise(self, spent_s: float) -> None:
        """Use the time of another process until the next call."""
        self._shared_s = spent_s

    def done(self, step: int) -> float:
        """Return the share of the budget that is used up, in [0, 1]."""
        done = min(1.0, max(self.done_by_steps(step), self.done_by_time()))
        return done if self._tail is None else max(done, self._tail.done(step))

    def shorten(self, step: int, steps: int, reason: str) -> None:
        """
        End the run after some more steps, over which the rest of the schedule is passed through.

        :param step: steps done; later calls than the first change nothing
        :param steps: how many more, unless the budget is used up before
        :param reason: why the run ends
        """
        if self._tail is None:
            self._tail = Tail(step, self.done(step), max(1, steps), reason)

    def done_by_steps(self, step: int) -> float:
        """Return the share of the steps that is done, 0 without a limit."""
        return 0.0 if self._steps is None else step / self._steps

    def done_by_time(self) -> float:
        """Return the share of the minutes that has passed, 0 without a limit."""
        spent_s = self.spent_s() if self._shared_s is None else self._shared_s
        return 0.0 if self._seconds is None else spent_s / max(self._seconds, 1e-9)

    def reason(self, step: int) -> str | None:
        """Return why the run is over, or None."""
        if self._steps is not None and step >= self._steps:
            return f'{step} steps are done'
        if self._seconds is not None and self.done_by_time() >= 1.0:
            return f'{self._seconds / 60:g} minutes are over'
        if self._tail is not None and self._tail.done(step) >= 1.0:
            return self._tail.reason
        return None


class StopRequest:
    """
    A context in which Ctrl-C or SIGTERM requests a stop after the current step.

    A second signal interrupts. The previous signal handlers are restored at the end.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: object) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = f'{signal.Signals(number).name} requested a stop'
