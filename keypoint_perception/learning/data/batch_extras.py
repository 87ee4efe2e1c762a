"""
What some objectives need of a pair besides its two frames, by the name in their ``needs``.

A supply is made once for a run, ``BatchExtra(store, config)``, and asked for every batch:
``take(frames) -> {name: tensor}`` with the frame indices of the pairs, (2, B), first frames first.
It may draw nothing at random: a resumed run asks again for what it would have asked.
"""

from __future__ import annotations

from typing import Protocol

from keypoint_perception.learning.data.backgrounds import Backgrounds
from keypoint_perception.learning.data.flows import Flows
from keypoint_perception.learning.data.labels import Labels
import numpy as np
from torch import Tensor


class BatchExtra(Protocol):
    """One kind of thing that goes with frames."""

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return what goes with the frames (2, B), each tensor with B first."""


BATCH_EXTRAS: dict[str, type[BatchExtra]] = {
    'background': Backgrounds,
    'flow': Flows,
    'labels': Labels,
}
