"""
The number of CPU threads of training: measured, because more can be eighteen times slower.

OpenMP threads wait for each other by spinning. If another program occupies a core, a spinning
thread takes the time of the one that it waits for: on two cores with one busy neighbour, one
thread did 6.8 steps per second and two did 0.4. With both cores free, two are faster.

The thread that prepares the next batch is such a neighbour, so it works ahead only if a core is
left for it. What is measured includes it: while the flow of most pairs is still to be computed,
one thread may be faster than two, and later not.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
import logging
import math
import os
import time

from keypoint_perception.learning.training_state import TrainingState
from lightning_fabric import Fabric
import torch

log = logging.getLogger('keypoint_perception')

TRIALS = 2
# A number of threads that takes so many times as long as another is tried for one step only.
HOPELESS = 2.0
# Below this share of its best speed, a run measures again.
SLOWED_DOWN = 0.5
# While cores are idle, a run measures at every call, then at every second, fourth and so on.
LONGEST_WAIT = 16


class Threads:
    """
    Chooses the number of threads at the start, and again when training has slowed down.

    :param count: fixed number of threads; 0 = measure
    """

    def __init__(self, session: TrainingState, fabric: Fabric, count: int) -> None:
        self._session, self._fabric = session, fabric
        on_cpu = fabric.device.type == 'cpu'
        self._free = count == 0 and on_cpu and fabric.world_size == 1
        self._most = torch.get_num_threads()
        # with this many, a core is left to prepare the next batch
        self._most_ahead = _cores() - 1 if on_cpu else max(count, self._most)
        self._best_speed = 0.0
        self._wait, self._calls = 1, 0
        self._set(count or self._most)

    def use(self, session: TrainingState) -> None:
        """Measure with another run from now on."""
        self._session = session

    def choose(self) -> None:
        """Measure one thread against all, and all but one, and use the fastest."""
        if not self._free or self._most == 1:
            return
        step = self._trial_step()
        drawn = self._session.sampler.state()
        seconds: dict[int, float] = {}
        counts = {1, min(max(1, self._most_ahead), self._most), self._most}
        for count in sorted(counts):
            self._set(count)
            most_s = HOPELESS * min(seconds.values(), default=math.inf)
            seconds[count] = _seconds(step, count, most_s)
        self._session.sampler.restore(drawn)
        chosen = min(seconds, key=seconds.__getitem__)
        self._set(chosen)
        measured = ', '.join(f'{s:.3f} s per step on {count}' for count, s in seconds.items())
        log.info('Threads: %d of %d (%s).', chosen, self._most, measured)

    def watch(self, speed: float) -> None:
        """
        Choose again if training has slowed down, or now and then if not all cores are used.

        :param speed: pairs per second since the last call
        """
        before = torch.get_num_threads()
        self._calls += 1
        due = before < self._most and self._calls >= self._wait
        if self._free and (due or speed < SLOWED_DOWN * self._best_speed):
            self.choose()
            same = torch.get_num_threads() == before
            self._wait = min(2 * self._wait, LONGEST_WAIT) if same else 1
            self._calls = 0
        self._best_speed = max(self._best_speed, speed)

    def _set(self, count: int) -> None:
        torch.set_num_threads(count)
        self._session.loader.ahead = count <= self._most_ahead

    def _trial_step(self) -> Callable[[], None]:
        # of a copy, which leaves the statistics and the random state of the run untouched
        learner = copy.deepcopy(self._session.learner)
        count = self._session.config.batch_size

        def step() -> None:
            batch = self._session.batch(count, slice(count))
            with torch.random.fork_rng(devices=[]), self._fabric.autocast():
                terms = learner(*batch)
            sum(term.mean() for term in terms.values()).backward()

        return step


def _cores() -> int:
    """Return the number of cores that each process of this machine may use."""
    return len(os.sched_getaffinity(0)) // int(os.environ.get('LOCAL_WORLD_SIZE', '1'))


def _seconds(step: Callable[[], None], threads: int, most_s: float) -> float:
    """Return the seconds of a step after a first one, or of the first one if it took longer."""
    started = time.perf_counter()
    step()
    first_s = time.perf_counter() - started
    if first_s > most_s:
        return first_s
    started = time.perf_counter()
    for _ in range(TRIALS):
        step()
    return (time.perf_counter() - started) / TRIALS
