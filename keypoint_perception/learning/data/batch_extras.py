"""
Data that objectives need besides the frames of a batch, by the name in their ``needs``.

A source of extras is made once per run and called for every batch with the frame indices of the
pairs, (2, B), first frames first. Extras must be deterministic, so that a resumed run gets the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.backgrounds import Backgrounds
from keypoint_perception.learning.data.flows import Flows
from keypoint_perception.learning.data.labels import Labels
import numpy as np
from torch import Tensor


class BatchExtra(Protocol):
    """A source of extras."""

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the extras of the frames (2, B) by name, each (B, ...)."""


BATCH_EXTRAS: dict[str, Callable[[FrameStore, TrainConfig], BatchExtra]] = {
    'background': Backgrounds,
    'flow': Flows,
    'labels': Labels,
}
