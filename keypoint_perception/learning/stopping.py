"""When a run ends: its budget of steps or minutes is used up, or somebody asks it to stop."""

from __future__ import annotations

import signal
import time


class Budget:
    """
    Steps, minutes or both; what is used up first ends the run.

    The learning rate follows ``done``, so a run of five minutes ends as gently as one of a
    thousand steps. Steps are counted from the beginning of the run, minutes from the moment that
    this process began to learn. Where several processes learn together, all of them go by the
    first one's clock: learning at other rates they would learn different networks.
    """

    def __init__(self, *, steps: int | None, minutes: float | None) -> None:
        """
        Set the limits; at least one must be given.

        :param steps: optimiser steps of the whole run
        :param minutes: wall-clock time of this process's learning
        """
        assert steps is not None or minutes is not None
        self._steps = steps
        self._seconds = None if minutes is None else 60.0 * minutes
        self._began_s = time.monotonic()
        self._agreed_s: float | None = None

    def start(self) -> None:
        """Start the clock."""
        self._began_s = time.monotonic()

    def spent_s(self) -> float:
        """Return how long this process has learned, s."""
        return time.monotonic() - self._began_s

    def agree(self, spent_s: float) -> None:
        """Go by another clock until told again."""
        self._agreed_s = spent_s

    def done(self, step: int) -> float:
        """Return the share of the budget that is used up, in [0, 1]."""
        return min(1.0, max(self.done_by_steps(step), self.done_by_time()))

    def done_by_steps(self, step: int) -> float:
        """Return the share of the steps that are done, 0 without a limit."""
        return 0.0 if self._steps is None else step / self._steps

    def done_by_time(self) -> float:
        """Return the share of the minutes that are over, 0 without a limit."""
        spent_s = self.spent_s() if self._agreed_s is None else self._agreed_s
        return 0.0 if self._seconds is None else spent_s / max(self._seconds, 1e-9)

    def reason(self, step: int) -> str | None:
        """Return why the run is over, or None."""
        if self.done(step) < 1.0:
            return None
        if self._steps is not None and step >= self._steps:
            return f'{step} steps are done'
        return f'{self._seconds / 60:g} minutes are over'


class StopRequest:
    """
    Ctrl-C or SIGTERM asks for a clean stop after the current step; a second one interrupts.

    Used as a context; signal handlers are put back on leaving.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.reason: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in self.SIGNALS:
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        if self.reason is not None:
            raise KeyboardInterrupt
        self.reason = f'{signal.Signals(number).name} asked for a stop'
