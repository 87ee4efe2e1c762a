"""
Train briefly from several seeds and continue the best.

Runs that differ only in their seed differ in quality, most often because of their first steps: a
keypoint that settles on the wrong part seldom leaves it. So a part of the budget can be spent on
short runs from several seeds. The one whose keypoints have the least errors without labels
(:mod:`.candidate_errors`) is continued; the others are discarded. Runs that learn from labels
alone are compared by their loss on the same pairs.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import math
import time
from typing import Any, NamedTuple

from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.candidate_errors import candidate_errors, CandidateErrors
from keypoint_perception.learning.composite_objective import learns_from_labels_alone
from keypoint_perception.learning.run_monitor import RunProgress
from keypoint_perception.learning.stopping import Budget
from keypoint_perception.learning.training_state import TrainingState, with_seed
from keypoint_perception.learning.training_step import learning_rate, TrainingStep
from lightning_fabric import Fabric
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Share of the budget for all candidates, and the batches on which a loss is compared.
SHARE = 0.25
BATCHES = 16


class SeedCandidate(NamedTuple):
    """
    A run after its first steps.

    :param cost: what candidates are compared by, the less the better
    :param random: its random state
    """

    session: TrainingState
    step: TrainingStep
    cost: float
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
        cost = compare(session, step, fabric, pairs)
        candidates.append(SeedCandidate(session, step, cost, torch.get_rng_state()))
        # discarded runs free their memory
        candidates = [min(candidates, key=lambda c: (math.isnan(c.cost), c.cost))]
        if stopped():
            break
    best = candidates[0]
    if not math.isfinite(best.cost):
        msg = (
            f'The loss of each of {config.seeds} seeds became {best.cost} within '
            f'{best.session.step} steps; lower learning_rate (it is {config.learning_rate:g}) or '
            'set precision to 32, and train again.'
        )
        raise TrainingError(msg)
    log.info('Continuing with seed %d.', best.session.config.seed)
    torch.set_rng_state(best.random)
    return best.session, best.step


def compare(
    session: TrainingState, step: TrainingStep, fabric: Fabric, pairs: dict[str, Any]
) -> float:
    """
    Return what candidates are compared by, without side effects.

    :param pairs: state of the sampler to compare losses on
    """
    seed, steps = session.config.seed, session.step
    if learns_from_labels_alone(session.config.parts):
        loss = step.loss_on(pairs, BATCHES)
        log.info('Seed %d: loss %.4f after %d steps.', seed, loss, steps)
        return loss
    # those of the first process apply to all, so that all continue the same run
    errors: CandidateErrors = fabric.broadcast(candidate_errors(session, fabric.device))
    log.info(
        'Seed %d: mean error %.2f %% of the diagonal after %d steps (equivariance %.2f, '
        'background %.2f, flow %.2f; %d keypoints useful).',
        *(seed, errors.total, steps, errors.equivariance, errors.background, errors.flow),
        errors.useful,
    )
    return errors.total


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
        loss, _ = step(learning_rate(config, session.step, done), done)
        spent_s = time.perf_counter() - started
        session.elapsed_s += spent_s
        if session.step % config.log_every == 0:
            speed = config.batch_size / spent_s
            report(RunProgress(session.step, done, float(loss.detach()), speed))
