"""Progress of a TensorRT build, from the nested phases that the builder reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
import threading
import time

# Receives completed steps, total steps and the phase; returning False stops the build.
Progress = Callable[[int, int, str], bool | None]

TOTAL = 1000
LOG_EVERY_S = 5.0

log = logging.getLogger('keypoint_perception')


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class BuildProgress:
    """
    Computes the progress of nested phases.

    A step of a phase may be a phase itself: if one of 4 steps is complete and the second is a
    phase with 2 of 8 steps complete, progress is (1 + 2/8) / 4. The builder runs an unknown number
    of outermost phases in turn, so each starts at 0; within one, progress never decreases.
    The builder calls this from its own threads.

    :param report: called when progress or the phase has changed
    """

    def __init__(self, report: Progress) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._reported: tuple[str, int] = ('', 0)
        self._stopped = threading.Event()
        self.interruption: BaseException | None = None

    def stop(self, interruption: BaseException | None = None) -> None:
        """
        Make the builder stop at its next step.

        :param interruption: exception to raise once it has stopped
        """
        self.interruption = self.interruption or interruption
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        """Start a phase, as part of another one unless ``parent`` is None or empty."""
        with self._lock:
            if not parent:
                self._reported = ('', 0)  # the next build may reuse names of phases
            self._phases[name] = _Phase(parent or None, max(1, int(steps)))
        self._update(name)

    def step_complete(self, name: str, step: int) -> bool:
        """Complete a step, counted from 0; return whether the builder may continue."""
        with self._lock:
            if phase := self._phases.get(name):
                phase.done = min(phase.steps, max(phase.done, int(step) + 1))
        self._update(name)
        return not self.stopped

    def phase_finish(self, name: str) -> None:
        """Finish a phase, even if some of its steps are incomplete."""
        with self._lock:
            if phase := self._phases.get(name):
                phase.done = phase.steps
        self._update(name)
        with self._lock:
            self._phases.pop(name, None)

    def _update(self, name: str) -> None:
        with self._lock:
            root = self._root(name)
            if root is None:
                return
            done = int(TOTAL * self._share(root) + 1e-9)
            if self._reported[0] == root:
                done = max(done, self._reported[1])
            if self._reported == (root, done):
                return
            self._reported = (root, done)
        if self._report(done, TOTAL, root) is False:
            self.stop()

    def _root(self, name: str) -> str | None:
        """Return the outermost phase that contains a phase, None if it is unknown."""
        seen = set()
        while name in self._phases and name not in seen:
            seen.add(name)
            parent = self._phases[name].parent
            if parent is None or parent not in self._phases:
                return name
            name = parent
        return None

    def _share(self, name: str) -> float:
        """Return the completed share of a phase, 0 to 1."""
        phase = self._phases[name]
        children = [child for child, other in self._phases.items() if other.parent == name]
        # finished children are counted by the parent's own steps, so only running ones add to it
        inner = max((self._share(child) for child in children if child != name), default=0.0)
        return min(1.0, (phase.done + min(inner, 1.0)) / phase.steps)


class LoggedProgress:
    """
    Logs progress at most every few seconds, and forwards it.

    :param what: description of the work, for the log
    """

    def __init__(
        self, what: str, report: Progress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._report, self._clock = what, report, clock
        self._started = self._logged = clock()

    def __call__(self, done: int, total: int, phase: str) -> bool | None:
        """Report progress."""
        now = self._clock()
        if now - self._logged >= LOG_EVERY_S:
            self._logged, share, elapsed_s = now, 100 * done / total, now - self._started
            log.info('%s: %s %.0f %%, %.0f s so far', self._what, phase, share, elapsed_s)
        return self._report(done, total, phase)
