"""
Batches of any size through a compiled engine, each size as a CUDA graph once it is warm.

A graph is one driver call instead of one per kernel, which is most of the time of a network that
takes a fraction of a millisecond. Each batch size has its own graph, captured after a few runs,
because the first ones allocate memory.
"""

from __future__ import annotations

from dataclasses import dataclass
import logging
from typing import Any

from keypoint_perception.inference.tensorrt.cuda import Graph
from keypoint_perception.inference.tensorrt.device import LoadedPlan
from keypoint_perception.parity import Outputs
import numpy as np

RUNS_BEFORE_GRAPH = 2
# Batch sizes up to this are warmed up before the first image, larger ones at first use.
WARMED_SIZES = 8

log = logging.getLogger('keypoint_perception')


@dataclass
class _Size:
    """The execution context of one batch size, and its graph."""

    context: Any
    runs: int = 0
    graph: Graph | None = None


class Batches:
    """
    Runs images in batches of at most the size that the engine was built for.

    Not thread-safe.
    """

    def __init__(self, plan: LoadedPlan, max_batch: int) -> None:
        self._plan = plan
        self.max_batch = max_batch
        self.is_closed = False
        self._sizes: dict[int, _Size] = {}
        self._use_graphs = True

    @property
    def graphs(self) -> tuple[int, ...]:
        """Return the batch sizes with a graph."""
        return tuple(sorted(n for n, size in self._sizes.items() if size.graph is not None))

    def warm_up(self) -> None:
        """Run each batch size until it has a graph."""
        for count in range(1, min(self.max_batch, WARMED_SIZES) + 1):
            for _ in range(RUNS_BEFORE_GRAPH + 1):
                self._run_batch(count)

    def run(self, images: np.ndarray) -> Outputs:
        """
        Return the outputs of the network by name.

        :param images: (N, H, W, 3) uint8
        :return: (N, P, 3) float32 each
        """
        outputs = {
            name: np.empty((len(images), *rows.shape[1:]), rows.dtype)
            for name, rows in self._plan.outputs.items()
        }
        for first in range(0, len(images), self.max_batch):
            part = images[first : first + self.max_batch]
            self._plan.images[: len(part)] = part
            self._run_batch(len(part))
            for name, rows in self._plan.outputs.items():
                outputs[name][first : first + len(part)] = rows[: len(part)]
        return outputs

    def _run_batch(self, count: int) -> None:
        """Run the images in pinned memory, and wait for the outputs there."""
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
        except Exception as error:  # of CUDA or TensorRT; without graphs it is only slower
            self._use_graphs = False
            log.warning('the engine runs without CUDA graphs, which is slower (%s)', error)

    def close(self) -> None:
        """Release the engine; graphs first, because they use the memory of their contexts."""
        self._sizes.clear()
        if not self.is_closed:
            self.is_closed = True
            self._plan.close()
