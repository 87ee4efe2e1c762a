"""
The number of CPU threads of training: measured, because more can be eighteen times slower.

OpenMP threads wait for each other by spinning. If another program occupies a core, a spinning
thread takes the time of the one that it waits for: on two cores with one busy neighbour, one
thread did 6.8 steps per second and two did 0.4. With both cores free, two are faster.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
import logging
import time

from keypoint_perception.learning.training_state import TrainingState
from lightning_fabric import Fabric
import torch

log = logging.getLogger('keypoint_perception')

TRIALS = 2
# Below this share of its best speed, a run measures again.
SLOWED_DOWN = 0.5


class Threads:
    """
    Chooses the number of threads at the start, and again when training has slowed down.

    :param count: fixed number of threads; 0 = measure
    """

    def __init__(self, session: TrainingState, fabric: Fabric, count: int) -> None:
        self._session, self._fabric = session, fabric
        self._free = count == 0 and fabric.device.type == 'cpu' and fabric.world_size == 1
        self._most = torch.get_num_threads()
        self._best_speed = 0.0
        if count:
            torch.set_num_threads(count)

    def use(self, session: TrainingState) -> None:
        """Measure with another run from now on."""
        self._session = session

    def choose(self) -> None:
        """Measure one thread against all, and use the faster."""
        if not self._free or self._most == 1:
            return
        step = self._trial_step()
        seconds = {count: _seconds(step, count) for count in (1, self._most)}
        chosen = min(seconds, key=seconds.__getitem__)
        torch.set_num_threads(chosen)
        measured = ', '.join(f'{s:.3f} s per step on {count}' for count, s in seconds.items())
        log.info('Threads: %d of %d (%s).', chosen, self._most, measured)

    def watch(self, speed: float) -> None:
        """
        Choose again if training has slowed down, or if not all cores are used.

        :param speed: pairs per second since the last call
        """
        idle = torch.get_num_threads() < self._most
        if self._free and (idle or speed < SLOWED_DOWN * self._best_speed):
            self.choose()
        self._best_speed = max(self._best_speed, speed)

    def _trial_step(self) -> Callable[[], None]:
        # of a copy, which leaves the statistics and the random state of the run untouched
        learner = copy.deepcopy(self._session.learner)
        count = self._session.config.batch_size
        drawn = self._session.sampler.state()
        batch = self._session.batch(count, slice(count))
        self._session.sampler.restore(drawn)

        def step() -> None:
            with torch.random.fork_rng(devices=[]), self._fabric.autocast():
                terms = learner(*batch)
            sum(term.mean() for term in terms.values()).backward()

        return step


def _seconds(step: Callable[[], None], threads: int) -> float:
    torch.set_num_threads(threads)
    step()
    started = time.perf_counter()
    for _ in range(TRIALS):
        step()
    return (time.perf_counter() - started) / TRIALS
