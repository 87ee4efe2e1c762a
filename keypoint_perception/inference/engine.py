"""
What every engine offers, and how one is chosen.

An engine runs the network of one model directory. The same uint8 images give the same keypoints
in each of them, because normalisation and read-out are inside the network.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
from pathlib import Path
from typing import Protocol

from keypoint_perception.errors import EngineError
from keypoint_perception.manifest import read_manifest
import numpy as np

logger = logging.getLogger('keypoint_perception')

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
    landmark_names: tuple[str, ...]
    skeleton: tuple[tuple[int, int, float], ...]

    def run(self, images: np.ndarray) -> np.ndarray:
        """
        Return the keypoints of a batch.

        :param images: RGB in the network's size, (N, H, W, 3) uint8
        :return: u, v in network pixels and confidence, (N, K, 3) float32
        :raises EngineError: if the library fails
        """

    def run_named(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """
        Return the keypoints and the named points of a batch, of one pass.

        :return: as of :meth:`run`, (N, K, 3) and (N, L, 3); L is 0 where the model names none
        """

    def close(self) -> None:
        """Give back what the library holds; the engine cannot be used afterwards."""


def load_engine(
    model_dir: Path,
    name: str = 'auto',
    *,
    threads: int = 0,
    precision: str = 'fp32',
    max_batch: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> Engine:
    """
    Load a model directory into an engine.

    :param name: one of :data:`ENGINE_NAMES`
    :param threads: CPU threads of one inference, 0 = the library's own choice
    :param precision: of the network's file, as `export --precision` made it; tensorrt's alone
    :param max_batch: images of one pass, which a compiled engine must know when it is built
    :param progress: is told steps done, all steps and the phase, where an engine is built first,
        which may take minutes
    :raises ModelError: if the model directory does not match its manifest
    :raises EngineError: if the engine is unknown or not installed
    """
    if name not in ENGINE_NAMES:
        msg = f'Engine {name!r} is not known; known: {", ".join(ENGINE_NAMES)}.'
        raise EngineError(msg)
    if threads < 0:
        msg = f'threads: must be 0 (the library chooses) or more, got {threads}.'
        raise EngineError(msg)
    if name == 'auto':
        name, reason = choose_engine()
        logger.info('engine: auto chose %s, because %s', name, reason)
    model_dir = Path(model_dir)
    manifest = read_manifest(model_dir)
    if name == 'torch':
        from keypoint_perception.inference.torch_engine import TorchEngine

        return TorchEngine(model_dir, manifest, threads=threads)
    if name == 'tensorrt':
        from keypoint_perception.inference.tensorrt_engine import TensorRTEngine

        return TensorRTEngine(
            model_dir, manifest, precision=precision, max_batch=max_batch, progress=progress
        )
    from keypoint_perception.inference.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model_dir, manifest, threads=threads)


def choose_engine() -> tuple[str, str]:
    """Return the engine that ``auto`` stands for, and the reason."""
    return 'onnxruntime', 'it is the only engine so far that needs no training library'
