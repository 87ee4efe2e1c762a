"""
The interface of all engines, and the choice among them.

An engine runs the network of one model directory. The same uint8 images give the same keypoints
in every engine, because normalisation and read-out are part of the network.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
import logging
from pathlib import Path
from typing import NamedTuple, Protocol

from keypoint_perception.errors import EngineError
from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.manifest import read_manifest
from keypoint_perception.pose_prior import PosePrior
import numpy as np

log = logging.getLogger('keypoint_perception')

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
    grey_range: tuple[int, int]
    pose_prior: PosePrior | None
    landmark_map: Landmarks | None

    def run(self, images: np.ndarray) -> np.ndarray:
        """
        Return the keypoints of a batch.

        :param images: RGB at the network's size, (N, H, W, 3) uint8
        :return: u, v in network pixels and confidence, (N, K, 3) float32
        :raises EngineError: if the library fails
        """

    def run_with_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return keypoints and landmarks as :meth:`run`, (N, K, 3) and (N, L, 3), L may be 0."""

    def close(self) -> None:
        """Release the library's resources; the engine is unusable afterwards."""


class Candidate(NamedTuple):
    """
    An engine that ``auto`` may select.

    :param provider: execution provider of ONNX Runtime; empty for other engines
    :param reason: why it is available, as the end of a sentence
    """

    name: str
    provider: str
    reason: str


def load_engine(
    model_dir: Path,
    name: str = 'auto',
    *,
    threads: int = 0,
    precision: str = 'fp32',
    provider: str = 'auto',
    max_batch: int = 1,
    progress: Callable[[int, int, str], bool | None] | None = None,
) -> Engine:
    """
    Load a model directory into an engine.

    ``auto`` selects the first of :func:`candidates` that loads, and logs the reason and why the
    earlier ones failed.

    :param name: one of :data:`ENGINE_NAMES`
    :param threads: CPU threads per inference; 0: the engine's default
    :param precision: of the network file, as `export --precision` wrote it
    :param provider: execution provider of ONNX Runtime: auto, cpu, cuda or tensorrt
    :param max_batch: images per pass, which a compiled engine must know at build time
    :param progress: receives completed steps, total steps and the phase of an engine build, which
        may take minutes
    :raises ModelError: if the model directory does not match its manifest, or lacks the precision
    :raises EngineError: if the engine is unknown or not installed, or none can be loaded
    """
    if name not in ENGINE_NAMES:
        msg = f'Engine {name!r} is not known; known: {", ".join(ENGINE_NAMES)}.'
        raise EngineError(msg)
    if threads < 0:
        msg = f"threads: must be 0 (the engine's default) or more, got {threads}."
        raise EngineError(msg)
    model_dir = Path(model_dir)
    manifest = read_manifest(model_dir)

    def load(chosen: str, provider: str) -> Engine:
        if chosen == 'torch':
            if precision != 'fp32':
                msg = f'Engine torch runs fp32 checkpoints; {precision} needs another engine.'
                raise EngineError(msg)
            from keypoint_perception.inference.torch_engine import TorchEngine

            return TorchEngine(model_dir, manifest, threads=threads)
        if chosen == 'tensorrt':
            from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine

            return TensorRTEngine(
                model_dir, manifest, precision=precision, max_batch=max_batch, progress=progress
            )
        from keypoint_perception.inference.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(
            model_dir,
            manifest,
            threads=threads,
            precision=precision,
            provider=provider,
            max_batch=max_batch,
        )

    if name == 'auto' or (name == 'onnxruntime' and provider == 'auto'):
        return _load_first(candidates(name), load, 'engine' if name == 'auto' else 'provider')
    return load(name, provider)


def _load_first(found: list[Candidate], load: Callable[[str, str], Engine], what: str) -> Engine:
    """Return the first candidate that loads; if none does, raise the error of the last."""
    for candidate in found:
        name = ' on '.join(filter(None, candidate[:2]))
        try:
            engine = load(candidate.name, candidate.provider)
        except EngineError as error:
            if candidate is found[-1]:
                raise
            log.warning('%s: auto skips %s, which cannot be used: %s', what, name, error)
        else:
            log.info('%s: auto selected %s, because %s', what, name, candidate.reason)
            return engine
    raise AssertionError('there is always a candidate')


def candidates(name: str = 'auto') -> list[Candidate]:
    """
    Return the available engines, best first.

    In this order: TensorRT, if its bindings and a GPU are available; ONNX Runtime on CUDA, if it
    was built with it; ONNX Runtime on the CPU. ONNX Runtime's TensorRT provider builds engines
    for minutes without any output and must be requested, as must torch.

    :param name: ``auto``, or ``onnxruntime`` to choose its provider only
    """
    from keypoint_perception.inference.onnx_providers import CUDA

    found, missing = [], []
    if name == 'auto':
        gpu, why = _tensorrt_gpu()
        if gpu:
            found.append(Candidate('tensorrt', '', f'{gpu} is available'))
        missing.append(f'tensorrt {why}')
    try:
        from onnxruntime import get_available_providers
    except ImportError:
        return [*found, Candidate('onnxruntime', 'cpu', 'nothing else is available')]
    if CUDA in get_available_providers():
        found.append(Candidate('onnxruntime', 'cuda', 'ONNX Runtime was built with CUDA'))
    missing.append('ONNX Runtime was built without CUDA')
    reason = 'no GPU could be used' if found else ' and '.join(missing)
    return [*found, Candidate('onnxruntime', 'cpu', reason)]


def _tensorrt_gpu() -> tuple[str, str]:
    """Return TensorRT's version with its GPU, or an empty string and the reason."""
    if find_spec('tensorrt') is None:
        return '', 'is not installed'
    from keypoint_perception.inference.tensorrt.cuda import Cuda
    from keypoint_perception.inference.tensorrt.library import import_tensorrt

    try:
        version = import_tensorrt().__version__
        Cuda().close()
    except EngineError as error:
        return '', f'cannot be used ({str(error).rstrip(".")})'
    return f'TensorRT {version} with a GPU', ''
