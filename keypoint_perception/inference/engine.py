"""
What every engine offers, and how one is chosen.

An engine runs the network of one model directory. The same uint8 images give the same keypoints
in each of them, because normalisation and read-out are inside the network.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
import logging
from pathlib import Path
from typing import NamedTuple, Protocol

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


class Candidate(NamedTuple):
    """
    What ``auto`` may take.

    :param provider: of ONNX Runtime; empty for other engines
    :param reason: why it can be taken, as the end of a sentence
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
    progress: Callable[[int, int, str], None] | None = None,
) -> Engine:
    """
    Load a model directory into an engine.

    ``auto`` takes the first of :func:`candidates` that loads, and says which and why, and why not
    those before it.

    :param name: one of :data:`ENGINE_NAMES`
    :param threads: CPU threads of one inference, 0 = the engine's own choice
    :param precision: of the network's file, as `export --precision` made it
    :param provider: where ONNX Runtime computes: auto, cpu, cuda or tensorrt
    :param max_batch: images of one pass, which a compiled engine must know when it is built
    :param progress: is told steps done, all steps and the phase, where an engine is built first,
        which may take minutes
    :raises ModelError: if the model directory does not match its manifest, or is not there in
        this precision
    :raises EngineError: if the engine is unknown or not installed, or none can be loaded
    """
    if name not in ENGINE_NAMES:
        msg = f'Engine {name!r} is not known; known: {", ".join(ENGINE_NAMES)}.'
        raise EngineError(msg)
    if threads < 0:
        msg = f'threads: must be 0 (the library chooses) or more, got {threads}.'
        raise EngineError(msg)
    model_dir = Path(model_dir)
    manifest = read_manifest(model_dir)
    options = {'precision': precision, 'max_batch': max_batch}

    def load(chosen: str, where: str) -> Engine:
        if chosen == 'torch':
            return _load_torch(model_dir, manifest, precision, threads)
        if chosen == 'tensorrt':
            from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine

            return TensorRTEngine(model_dir, manifest, progress=progress, **options)
        from keypoint_perception.inference.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(model_dir, manifest, threads=threads, provider=where, **options)

    if name == 'auto' or (name == 'onnxruntime' and provider == 'auto'):
        return _load_first(candidates(name), load, 'engine' if name == 'auto' else 'provider')
    return load(name, provider)


def _load_torch(model_dir: Path, manifest, precision: str, threads: int) -> Engine:
    if precision != 'fp32':
        msg = f'Engine torch runs a checkpoint, which is fp32; {precision} needs another engine.'
        raise EngineError(msg)
    from keypoint_perception.inference.torch_engine import TorchEngine

    return TorchEngine(model_dir, manifest, threads=threads)


def _load_first(found: list[Candidate], load: Callable[[str, str], Engine], what: str) -> Engine:
    """Return the first candidate that loads; the last one's error is the user's."""
    for candidate in found:
        name = ' on '.join(filter(None, candidate[:2]))
        try:
            engine = load(candidate.name, candidate.provider)
        except EngineError as error:
            if candidate is found[-1]:
                raise
            logger.warning('%s: auto goes on, as %s cannot be used: %s', what, name, error)
        else:
            logger.info('%s: auto chose %s, because %s', what, name, candidate.reason)
            return engine
    raise AssertionError('there is always a candidate')


def candidates(name: str = 'auto') -> list[Candidate]:
    """
    Return what can be taken here, the best first.

    In this order: TensorRT, where its bindings and a GPU are there; ONNX Runtime with CUDA, where
    it was built with it; ONNX Runtime on the CPU. ONNX Runtime's TensorRT provider builds engines
    for minutes without a word and is taken only by name, as is torch.

    :param name: ``auto``, or ``onnxruntime`` to choose only where that computes
    """
    from keypoint_perception.inference.onnx_providers import CUDA

    found, missing = [], []
    if name == 'auto':
        gpu, why = _tensorrt_gpu()
        if gpu:
            found.append(Candidate('tensorrt', '', f'{gpu} is there'))
        missing.append(f'tensorrt {why}')
    try:
        from onnxruntime import get_available_providers
    except ImportError:
        return [*found, Candidate('onnxruntime', 'cpu', 'nothing else is there')]
    if CUDA in get_available_providers():
        found.append(Candidate('onnxruntime', 'cuda', 'ONNX Runtime was built with CUDA'))
    missing.append('ONNX Runtime was built without CUDA')
    reason = 'no GPU could be used' if found else f'{" and ".join(missing)}'
    return [*found, Candidate('onnxruntime', 'cpu', reason)]


def _tensorrt_gpu() -> tuple[str, str]:
    """Return TensorRT's version with the GPU that it can use, or nothing and why."""
    if find_spec('tensorrt') is None:
        return '', 'is not installed'
    from keypoint_perception.inference.tensorrt.cuda_memory import open_cuda
    from keypoint_perception.inference.tensorrt.library import import_tensorrt

    try:
        version = import_tensorrt().__version__
        cuda = open_cuda()
    except EngineError as error:
        return '', f'cannot be used ({str(error).rstrip(".")})'
    cuda.close()
    return f'TensorRT {version} with a GPU', ''


def choose_engine() -> tuple[str, str]:
    """Return the engine that ``auto`` stands for, if it loads, and the reason."""
    first = candidates()[0]
    return first.name, first.reason
