"""One training step: compute the loss, take an optimiser step, update the moving average."""

from __future__ import annotations

import math
from typing import Any

from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.training_state import TrainingState
from lightning_fabric import Fabric
import torch
from torch import Tensor


class TrainingStep:
    """
    Does the steps of a session on its devices; each process takes its share of a batch.

    :raises TrainingError: if the batch cannot be divided among the processes
    """

    def __init__(self, session: TrainingState, fabric: Fabric) -> None:
        config = session.config
        self._session, self._fabric = session, fabric
        self._share = _share(config.batch_size, fabric)
        self._weights = config.term_weights()
        self._learner, self._optimizer = fabric.setup(session.learner, session.optimizer)
        session.average.network.to(fabric.device)
        session.learner.objective.learn_from(session.average.network)

    def __call__(self, rate: float, done: float = 0.0) -> tuple[Tensor, dict[str, Tensor]]:
        """
        Do a step, and return the loss and its terms.

        :param rate: learning rate
        :param done: share of the budget that is used up, which some objectives have phases by
        """
        session, config = self._session, self._session.config
        session.learner.objective.advance(done)
        for group in self._optimizer.param_groups:
            group['lr'] = rate
        loss, terms = self._loss()
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        # the monitor checks for NaN at intervals; a check at every step would wait for the device
        clip = config.gradient_clip
        self._fabric.clip_gradients(
            self._learner, self._optimizer, max_norm=clip, error_if_nonfinite=False
        )
        self._optimizer.step()
        session.average.update(session.learner.network, session.step)
        session.step += 1
        return loss, terms

    @torch.no_grad()
    def loss_on(self, pairs: dict[str, Any], batches: int) -> float:
        """
        Return the mean loss on some batches, without side effects.

        The learner is in evaluation mode: batch normalisation uses its running statistics, as the
        exported network does, and neither they nor other running means change.

        :param pairs: state of the sampler to draw them from
        """
        sampler = self._session.sampler
        current = sampler.state()
        sampler.restore(pairs)
        training = [module for module in self._learner.modules() if module.training]
        self._learner.eval()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            loss = torch.stack([self._loss()[0] for _ in range(batches)]).mean()
        for module in training:
            module.training = True
        sampler.restore(current)
        mean = self._fabric.all_reduce(loss, reduce_op='mean')
        assert isinstance(mean, Tensor)
        return float(mean)

    def _loss(self) -> tuple[Tensor, dict[str, Tensor]]:
        batch = self._session.batch(self._session.config.batch_size, self._share)
        terms = self._learner(*self._fabric.to_device(batch))
        return sum(w * terms[name].mean() for name, w in self._weights.items()), terms


def learning_rate(config: TrainConfig, step: int, done: float) -> float:
    """
    Return the rate of a step: linear warm-up, then a cosine decay to the final rate.

    :param done: share of the budget that is used up
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = (1 + math.cos(math.pi * min(1.0, done))) / 2
    return config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)


def _share(batch_size: int, fabric: Fabric) -> slice:
    if batch_size % fabric.world_size:
        msg = (
            f'batch_size: {batch_size} cannot be divided among {fabric.world_size} processes; '
            'choose a multiple of their number.'
        )
        raise TrainingError(msg)
    share = batch_size // fabric.world_size
    return slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)
