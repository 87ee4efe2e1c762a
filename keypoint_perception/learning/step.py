"""One step of learning: draw pairs, rebuild frames, follow the gradient, move the average."""

from __future__ import annotations

from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.session import Session
from lightning_fabric import Fabric
from torch import Tensor


class Step:
    """Does the steps of a session on its devices; on several each process takes its share."""

    def __init__(self, session: Session, fabric: Fabric) -> None:
        """
        Put learner and average on the devices.

        :raises TrainingError: if the batch cannot be divided among the processes
        """
        config = session.config
        self._session, self._fabric = session, fabric
        self._share = _share(config.batch_size, fabric)
        self._weights = config.term_weights()
        self._learner, self._optimizer = fabric.setup(session.learner, session.optimizer)
        session.average.network.to(fabric.device)

    def __call__(self, rate: float) -> tuple[Tensor, dict[str, Tensor]]:
        """
        Do a step, and return the loss and the terms it is the sum of.

        :param rate: learning rate
        """
        session, config = self._session, self._session.config
        for group in self._optimizer.param_groups:
            group['lr'] = rate
        batch = session.batch(config.batch_size, self._share)
        terms = self._learner(*self._fabric.to_device(batch))
        loss = sum(weight * terms[name].mean() for name, weight in self._weights.items())
        self._optimizer.zero_grad()
        self._fabric.backward(loss)
        # NaN is looked for at intervals, by the watch: a look at every step would wait for the
        # device
        self._fabric.clip_gradients(
            self._learner,
            self._optimizer,
            max_norm=config.gradient_clip,
            error_if_nonfinite=False,
        )
        self._optimizer.step()
        session.average.update(session.learner.network, session.step)
        session.step += 1
        return loss, terms


def _share(batch_size: int, fabric: Fabric) -> slice:
    if batch_size % fabric.world_size:
        msg = (
            f'batch_size: {batch_size} cannot be divided among {fabric.world_size} processes; '
            'choose a multiple of their number.'
        )
        raise TrainingError(msg)
    share = batch_size // fabric.world_size
    return slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)
