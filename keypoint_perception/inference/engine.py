"""
What every engine offers, and how one is chosen.

An engine runs the network of one model directory. The same uint8 images give the same keypoints
in each of them, because normalisation and read-out are inside the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from keypoint_perception.errors import EngineError
import numpy as np

ENGINE_NAMES = ('auto', 'onnxruntime', 'tensorrt', 'torch')


class Engine(Protocol):
    """
    A loaded network.

    ``name`` is the engine's name on the command line, ``description`` adds library, version and
    device for logs and diagnostics.
    """

    name: str
    description: str
    input_hw: tuple[int, int]
    keypoint_names: tuple[str, ...]

    def run(self, images: np.ndarray) -> np.ndarray:
        """
        Return the keypoints of a batch.

        :param images: RGB in the network's size, (N, H, W, 3) uint8
        :return: u, v in network pixels and confidence, (N, K, 3) float32
        :raises EngineError: if the library fails
        """

    def close(self) -> None:
        """Give back what the library holds; the engine cannot be used afterwards."""


def load_engine(model_dir: Path, name: str = 'auto', *, threads: int = 0) -> Engine:
    """
    Load a model directory into an engine.

    :param name: one of :data:`ENGINE_NAMES`
    :param threads: CPU threads of one inference, 0 = the library's own choice
    :raises ModelError: if the model directory does not match its manifest
    :raises EngineError: if the engine is unknown or not installed
    """
    msg = f'Engine {name!r} is not known; known: {", ".join(ENGINE_NAMES)}.'
    raise EngineError(msg)
