"""
How many CPU threads learning uses: measured, because more can be eighteen times slower.

OpenMP's threads wait for each other by spinning. If another program holds one of two cores, a
thread that should compute waits for one that does nothing; measured on two cores with one busy
neighbour: 6.8 steps a second on one thread, 0.4 on two. With both cores free two are faster.
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
# A run that falls below this share of its best speed measures again.
SLOWED_DOWN = 0.5


class Threads:
    """Chooses the number of threads at the start, and again when learning has slowed down."""

    def __init__(self, session: TrainingState, fabric: Fabric, count: int) -> None:
        """
        Prepare for a run.

        :param count: threads to use always; 0 = measure
        """
        self._session, self._fabric = session, fabric
        self._free = count == 0 and fabric.device.type == 'cpu' and fabric.world_size == 1
        self._most = torch.get_num_threads()
        self._best_speed = 0.0
        if count:
            torch.set_num_threads(count)

    def follow(self, session: TrainingState) -> None:
        """Measure with another run from now on."""
        self._session = session

    def choose(self) -> None:
        """Measure one thread against all and take the faster."""
        if not self._free or self._most == 1:
            return
        step = self._trial_step()
        seconds = {count: _seconds(step, count) for count in (1, self._most)}
        chosen = min(seconds, key=seconds.get)
        torch.set_num_threads(chosen)
        measured = ', '.join(f'{s:.3f} s a step on {count}' for count, s in seconds.items())
        log.info('Threads %d of %d: %s.', chosen, self._most, measured)

    def watch(self, speed: float) -> None:
        """
        Choose again if learning has slowed down, or if only a part of the cores is used.

        :param speed: pairs a second since the last call
        """
        few = torch.get_num_threads() < self._most
        if self._free and (few or speed < SLOWED_DOWN * self._best_speed):
            self.choose()
        self._best_speed = max(self._best_speed, speed)

    def _trial_step(self) -> Callable[[], None]:
        # a copy, so that no statistics of the run and no random state are touched
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
    began = time.perf_counter()
    for _ in range(TRIALS):
        step()
    return (time.perf_counter() - began) / TRIALS
