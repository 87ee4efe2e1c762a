"""
Batches: the next one is prepared in a thread while the current step runs.

What is prepared is a guess: the pairs that the sampler would draw next, without drawing them. If
the next batch is of other pairs, as after the sampler was restored, the guess is discarded. So the
state of the sampler is always that of the batches in use, and a run is the same, bit for bit,
whether its batches are prepared ahead or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol

from keypoint_perception.errors import TrainingError
from keypoint_perception.learning.data.pairs import SeededSampler
import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, dict[str, Tensor]]


class BatchExtra(Protocol):
    """Data that objectives need besides the frames of a batch."""

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """
        Return the data of a batch.

        It must be deterministic, so that a resumed run gets the same.

        :param frames: indices of the first and second frames, (2, B)
        """


class BatchLoader:
    """
    Prepares all batches in one thread, since extras compute and cache while they are used.

    At most one batch waits in memory. Exceptions are raised where the batch is taken.

    :ivar ahead: whether to prepare the next batch during the step, for which a core must be free
    """

    def __init__(self, images: np.ndarray, extras: Sequence[BatchExtra]) -> None:
        """
        Prepare batches of a recording.

        :param images: (N, H, W, 3) uint8
        """
        self.extras, self.ahead = extras, True
        self._images = images
        # one OpenMP thread: several would wait for each other, and for those of the step
        self._thread = ThreadPoolExecutor(
            1, 'batches', initializer=torch.set_num_threads, initargs=(1,)
        )
        self._guess: tuple[np.ndarray, Future[Batch]] | None = None

    def take(self, sampler: SeededSampler, count: int, share: slice) -> Batch:
        """
        Draw the next ``count`` pairs and return a share of them.

        :return: first and second frames, each (B, H, W, 3) uint8, and the extras
        """
        frames = sampler.draw(count)[:, share]
        guess, self._guess = self._guess, None
        if guess is not None and np.array_equal(guess[0], frames):
            batch = guess[1].result()
        else:
            if guess is not None:
                guess[1].cancel()
            batch = self.prepare(frames)
        if self.ahead:
            with suppress(TrainingError):  # it is raised when the batch is drawn, if ever
                following = sampler.peek(count)[:, share]
                self._guess = following, self._thread.submit(self._prepare, following)
        return batch

    def prepare(self, frames: np.ndarray) -> Batch:
        """Return the batch of given frames, (2, B) indices, after what is being prepared."""
        return self._thread.submit(self._prepare, frames).result()

    def close(self) -> None:
        """End the thread, after the batch that it is preparing."""
        self._thread.shutdown(cancel_futures=True)

    def _prepare(self, frames: np.ndarray) -> Batch:
        extras: dict[str, Tensor] = {}
        for extra in self.extras:
            extras |= extra.take(frames)
        first, second = (np.ascontiguousarray(self._images[indices]) for indices in frames)
        return torch.from_numpy(first), torch.from_numpy(second), extras
