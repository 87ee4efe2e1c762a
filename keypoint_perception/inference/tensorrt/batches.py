"""
Batches of any size through a compiled engine, each size by a CUDA graph once it is warm.

A graph is one call of the driver instead of one for every kernel, which for a network of a
fraction of a millisecond is most of the time. It holds one batch size; and what it records must
have run before, because the first runs allocate.
"""

from __future__ import annotations

from dataclasses import dataclass
import logging

from keypoint_perception.inference.tensorrt.device import LoadedPlan
from keypoint_perception.inference.tensorrt.engine_parity import Answers
import numpy as np

RUNS_BEFORE_GRAPH = 2
# Sizes that are warmed before the first image; larger ones when they first come.
WARMED_SIZES = 8

log = logging.getLogger('keypoint_perception')


@dataclass
class _Size:
    """How batches of one size are run."""

    context: object
    runs: int = 0
    graph: object | None = None


class Batches:
    """
    Runs images, in batches of at most what the engine was built for.

    Not for several threads at once.
    """

    def __init__(self, plan: LoadedPlan, max_batch: int) -> None:
        self._plan: LoadedPlan | None = plan
        self.max_batch = max_batch
        self._sizes: dict[int, _Size] = {}
        self._use_graphs = True

    @property
    def graphs(self) -> tuple[int, ...]:
        """Return the batch sizes that have a graph."""
        return tuple(sorted(n for n, size in self._sizes.items() if size.graph is not None))

    @property
    def is_closed(self) -> bool:
        """Return whether the engine was given back."""
        return self._plan is None

    def warm_up(self) -> None:
        """Run each size of batch until it has its graph."""
        for count in range(1, min(self.max_batch, WARMED_SIZES) + 1):
            for _ in range(RUNS_BEFORE_GRAPH + 1):
                self._run_batch(count)

    def run(self, images: np.ndarray) -> Answers:
        """
        Return what the network answers, by the outputs' names.

        :param images: (N, H, W, 3) uint8
        :return: (N, P, 3) float32 each
        """
        answers = {
            name: np.empty((len(images), *rows.shape[1:]), rows.dtype)
            for name, rows in self._plan.answers.items()
        }
        for first in range(0, len(images), self.max_batch):
            part = images[first : first + self.max_batch]
            self._plan.images[: len(part)] = part
            self._run_batch(len(part))
            for name, rows in self._plan.answers.items():
                answers[name][first : first + len(part)] = rows[: len(part)]
        return answers

    def _run_batch(self, count: int) -> None:
        """Run what lies in the pinned memory, and wait for the answers there."""
        plan = self._plan
        if count not in self._sizes:
            self._sizes[count] = _Size(plan.context(count))
        size = self._sizes[count]
        if size.graph is None and size.runs >= RUNS_BEFORE_GRAPH and self._use_graphs:
            self._capture(size)
        plan.upload(count)
        if size.graph is None:
            plan.enqueue(size.context)
        else:
            plan.launch(size.graph)
        plan.download(count)
        plan.wait()
        size.runs += 1

    def _capture(self, size: _Size) -> None:
        try:
            size.graph = self._plan.capture(size.context)
        except Exception as error:  # of either library; without graphs it is only slower
            self._use_graphs = False
            log.warning(
                'the engine runs without CUDA graphs, which is slower: they cannot be made (%s)',
                error,
            )

    def close(self) -> None:
        """Give back the engine; graphs first, because they hold the memory of their contexts."""
        self._sizes.clear()
        if self._plan is not None:
            self._plan.close()
            self._plan = None
