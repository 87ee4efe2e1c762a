"""
Several beginnings, of which the best goes on.

Runs that differ only in their seed end up differently, most often because of how they began: a
keypoint that settles on the wrong thing early seldom leaves it. So a part of the budget can go
into short runs from several seeds. The one with the lowest loss on the same pairs, which needs no
labels, goes on; the others are forgotten.
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
from keypoint_perception.learning.training_state import sibling, TrainingState
from keypoint_perception.learning.training_step import learning_rate, TrainingStep
from lightning_fabric import Fabric
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Share of the whole budget that all beginnings but the best one may use up, and the batches on
# which they are compared.
SHARE = 0.25
BATCHES = 16


class SeedCandidate(NamedTuple):
    """
    A run at its first steps.

    :param loss: on the pairs by which beginnings are compared
    :param random: where its random numbers go on
    """

    session: TrainingState
    step: TrainingStep
    loss: float
    random: Tensor


def select_seed(
    fabric: Fabric,
    first: TrainingState,
    budget: Budget,
    *,
    stopped: Callable[[], bool],
    report: Callable[[RunProgress], None],
) -> tuple[TrainingState, TrainingStep]:
    """
    Begin as many runs as were asked for, and return the best at the step it has come to.

    :param first: the run of the first seed, at its first step
    :param budget: of the whole run; time that goes by here is spent, steps of the others are not
        counted
    :param stopped: whether somebody asks to stop; then the best one so far is returned
    :param report: called every ``log_every`` steps
    :raises TrainingError: if the loss of all of them is not a number
    """
    config, drawn, best = first.config, first.sampler.state(), None
    for index in range(config.seeds):
        session = sibling(first, config.seed + index) if index else first
        step = TrainingStep(session, fabric)
        until = SHARE * (index + 1) / config.seeds
        _begin(session, step, budget, until, stopped, report)
        loss = step.loss_on(drawn, BATCHES)
        beginning = SeedCandidate(session, step, loss, torch.get_rng_state())
        log.info(
            'Seed %d: loss %.4f after %d steps.', session.config.seed, beginning.loss, session.step
        )
        if best is None or beginning.loss < best.loss or math.isnan(best.loss):
            best = beginning
        if stopped():
            break
    if not math.isfinite(best.loss):
        msg = (
            f'The loss of each of {config.seeds} seeds became {best.loss} within '
            f'{best.session.step} steps; lower learning_rate (it is {config.learning_rate:g}) or '
            'set precision to 32, and train again.'
        )
        raise TrainingError(msg)
    log.info('Seed %d goes on.', best.session.config.seed)
    torch.set_rng_state(best.random)
    return best.session, best.step


def _begin(
    session: TrainingState,
    step: TrainingStep,
    budget: Budget,
    until: float,
    stopped: Callable[[], bool],
    report: Callable[[RunProgress], None],
) -> None:
    """Learn for a seed's share: of the steps its own, of the minutes up to a moment."""
    config = session.config
    while not stopped():
        own = budget.done_by_steps(session.step)
        if own >= SHARE / config.seeds or budget.done_by_time() >= until:
            return
        done = budget.done(session.step)
        began = time.perf_counter()
        loss, _ = step(learning_rate(config, session.step, done))
        spent_s = time.perf_counter() - began
        session.elapsed_s += spent_s
        if session.step % config.log_every == 0:
            report(
                RunProgress(session.step, done, float(loss.detach()), config.batch_size / spent_s)
            )
