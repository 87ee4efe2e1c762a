"""
Train briefly from several seeds and continue the best.

Runs that differ only in their seed differ in quality, most often because of their first steps: a
keypoint that settles on the wrong part seldom leaves it. So a part of the budget can be spent on
short runs from several seeds. The one with the lowest loss on the same pairs, which needs no
labels, is continued; the others are discarded.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import math
import time
from typing import NamedTuple

from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.run_monitor import RunProgress
from keypoint_perception.learning.stopping import Budget
from keypoint_perception.learning.training_state import TrainingState, with_seed
from keypoint_perception.learning.training_step import learning_rate, TrainingStep
from lightning_fabric import Fabric
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Share of the budget for all candidates, and the batches on which they are compared.
SHARE = 0.25
BATCHES = 16


class SeedCandidate(NamedTuple):
    """
    A run after its first steps.

    :param loss: on the pairs that candidates are compared on
    :param random: its random state
    """

    session: TrainingState
    step: TrainingStep
    loss: float
    random: Tensor


def select_seed(
    fabric: Fabric,
    first: TrainingState,
    budget: Budget,
    stopped: Callable[[], bool],
    report: Callable[[RunProgress], None],
) -> tuple[TrainingState, TrainingStep]:
    """
    Start ``seeds`` runs, and return the best at its current step.

    :param first: the run of the first seed, at its first step
    :param budget: of the whole run; time spent here counts, steps of discarded runs do not
    :param stopped: whether a stop was requested; the best run so far is then returned
    :param report: called every ``log_every`` steps
    :raises TrainingError: if the loss of all runs is not finite
    """
    config, pairs = first.config, first.sampler.state()
    candidates = []
    for index in range(config.seeds):
        session = with_seed(first, config.seed + index) if index else first
        step = TrainingStep(session, fabric)
        _train(session, step, budget, SHARE * (index + 1) / config.seeds, stopped, report)
        loss = step.loss_on(pairs, BATCHES)
        log.info('Seed %d: loss %.4f after %d steps.', session.config.seed, loss, session.step)
        candidates.append(SeedCandidate(session, step, loss, torch.get_rng_state()))
        # discarded runs free their memory
        candidates = [min(candidates, key=lambda c: (math.isnan(c.loss), c.loss))]
        if stopped():
            break
    best = candidates[0]
    if not math.isfinite(best.loss):
        msg = (
            f'The loss of each of {config.seeds} seeds became {best.loss} within '
            f'{best.session.step} steps; lower learning_rate (it is {config.learning_rate:g}) or '
            'set precision to 32, and train again.'
        )
        raise TrainingError(msg)
    log.info('Continuing with seed %d.', best.session.config.seed)
    torch.set_rng_state(best.random)
    return best.session, best.step


def _train(
    session: TrainingState,
    step: TrainingStep,
    budget: Budget,
    until: float,
    stopped: Callable[[], bool],
    report: Callable[[RunProgress], None],
) -> None:
    """Train a candidate for its share of the steps, or until a share of the time has passed."""
    config = session.config
    while not stopped():
        steps = budget.done_by_steps(session.step)
        if steps >= SHARE / config.seeds or budget.done_by_time() >= until:
            return
        done = budget.done(session.step)
        started = time.perf_counter()
        loss, _ = step(learning_rate(config, session.step, done))
        spent_s = time.perf_counter() - started
        session.elapsed_s += spent_s
        if session.step % config.log_every == 0:
            speed = config.batch_size / spent_s
            report(RunProgress(session.step, done, float(loss.detach()), speed))
