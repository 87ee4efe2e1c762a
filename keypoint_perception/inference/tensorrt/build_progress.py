"""How far a TensorRT build is, from the phases that the builder reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import logging
import threading
import time

# Is told the steps that are done, of how many, and what is being done; False asks to stop.
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
    Makes one number of phases within phases.

    A step of a phase may be a phase of its own: of a phase of 4 steps with one done, whose second
    step is a phase with 2 of 8 done, (1 + 2/8) / 4 is done. The builder has several outermost
    phases one after another and does not say how many, so that each begins at 0 again; within one
    the number never falls. The builder calls from threads of its own.

    :param report: is told, at most when the number or the phase has changed
    """

    def __init__(self, report: Progress | None = None) -> None:
        self._report = report or (lambda done, total, phase: True)
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}
        self._told: tuple[str, int] = ('', 0)
        self._stopped = threading.Event()
        self.interruption: BaseException | None = None

    def stop(self, interruption: BaseException | None = None) -> None:
        """
        Ask the builder to give up at its next step.

        :param interruption: what is to be raised when it has
        """
        self.interruption = self.interruption or interruption
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Return whether the builder was asked to give up."""
        return self._stopped.is_set()

    def phase_start(self, name: str, parent: str | None, steps: int) -> None:
        """Begin a phase, within another one unless ``parent`` is None or empty."""
        with self._lock:
            if not parent:
                self._told = ('', 0)  # the next build may have phases of the same names
            self._phases[name] = _Phase(parent or None, max(1, int(steps)))
        self._tell(name)

    def step_complete(self, name: str, step: int) -> bool:
        """Finish a step, counted from 0; return whether the builder is to go on."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = min(phase.steps, max(phase.done, int(step) + 1))
        self._tell(name)
        return not self.stopped

    def phase_finish(self, name: str) -> None:
        """End a phase, whether all of its steps were done or not."""
        with self._lock:
            phase = self._phases.get(name)
            if phase is not None:
                phase.done = phase.steps
        self._tell(name)
        with self._lock:
            self._phases.pop(name, None)

    def _tell(self, name: str) -> None:
        with self._lock:
            root = self._root(name)
            if root is None:
                return
            done = int(TOTAL * self._share(root) + 1e-9)
            if self._told[0] == root:
                done = max(done, self._told[1])
            if self._told == (root, done):
                return
            self._told = (root, done)
        if self._report(done, TOTAL, root) is False:
            self.stop()

    def _root(self, name: str) -> str | None:
        """Return the outermost phase of a phase, None if it is not known."""
        seen = set()
        while name in self._phases and name not in seen:
            seen.add(name)
            parent = self._phases[name].parent
            if parent is None or parent not in self._phases:
                return name
            name = parent
        return None

    def _share(self, name: str) -> float:
        """Return how much of a phase is done, 0 to 1."""
        phase = self._phases[name]
        children = [child for child, other in self._phases.items() if other.parent == name]
        # a finished child is counted by its parent's own step, so only what goes on adds to it
        inner = max((self._share(child) for child in children if child != name), default=0.0)
        return min(1.0, (phase.done + min(inner, 1.0)) / phase.steps)


class LoggedProgress:
    """
    Logs how far a build is, at most every few seconds, and hands it on.

    :param what: is being built, for the log
    :param report: is told everything
    """

    def __init__(
        self,
        what: str,
        report: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._report = report
        self._clock = clock
        self._started = self._logged = clock()

    def __call__(self, done: int, total: int, phase: str) -> bool | None:
        """Tell how far the build is."""
        now = self._clock()
        if now - self._logged >= LOG_EVERY_S:
            self._logged = now
            log.info(
                '%s: %s %.0f %%, %.0f s so far',
                self._what,
                phase,
                100 * done / total,
                now - self._started,
            )
        return None if self._report is None else self._report(done, total, phase)
