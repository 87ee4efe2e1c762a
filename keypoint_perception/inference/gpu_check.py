"""
The whole way of a compiled engine on this machine, step by step: build, compare, load, measure.

Run as a program, so that a library that kills its process does not take the caller with it::

    python -m keypoint_perception.inference.gpu_check MODEL|- [MAX_BATCH]

Every step is printed as soon as it is done, one JSON object a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
import json
import logging
from pathlib import Path
import sys
import tempfile
import time
from typing import NamedTuple

from keypoint_perception.errors import PerceptionError
from keypoint_perception.inference.synthetic_gpu_model import write_synthetic_gpu_model
from keypoint_perception.inference.tensorrt.cuda_memory import Cuda, open_cuda
from keypoint_perception.inference.tensorrt.device import TensorRTDevice
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_answers, random_images
from keypoint_perception.inference.tensorrt.library import import_tensorrt
from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine
from keypoint_perception.manifest import Manifest, read_manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np

OK, FAILED = 'ok', 'failed'
STAND_IN = '-'
LATENCY_RUNS = 500
SHARES = (50, 95, 99)


class CheckStep(NamedTuple):
    """
    One step.

    :param state: :data:`OK` or :data:`FAILED`
    :param found: in words
    :param facts: the same for programs
    """

    name: str
    state: str
    found: str
    facts: dict


Finding = tuple[str, dict]
OpenDevice = Callable[[], TensorRTDevice]


def check_gpu(check: GpuCheck) -> Iterator[CheckStep]:
    """Yield the steps: what is there, each whether or not the others are, then the engines."""
    ready = True
    for name, take in check.preparations():
        step = _attempt(name, take)
        ready = ready and step.state == OK
        yield step
    if not ready:
        return
    for name, take in check.engines():
        step = _attempt(name, take)
        yield step
        if step.state != OK:
            return


def _attempt(name: str, take: Callable[[], Finding]) -> CheckStep:
    try:
        return CheckStep(name, OK, *take())
    except PerceptionError as error:
        return CheckStep(name, FAILED, str(error), {})
    except Exception as error:  # a library's own
        return CheckStep(name, FAILED, f'{type(error).__name__}: {error}', {})


class GpuCheck:
    """
    What is checked.

    :param model: model directory; None: a small stand-in
    :param folder: for the stand-in and the engines; the user's own cache is left alone
    :param runs: passes to measure
    :param find_cuda: opens CUDA alone
    :param find_tensorrt: imports TensorRT alone
    """

    def __init__(
        self,
        model: Path | None,
        folder: Path,
        *,
        max_batch: int = 2,
        runs: int = LATENCY_RUNS,
        open_device: OpenDevice = TensorRTDevice,
        find_cuda: Callable[[], Cuda] = open_cuda,
        find_tensorrt: Callable[[], object] = import_tensorrt,
    ) -> None:
        self._model, self._folder, self._max_batch = model, folder, max_batch
        self._runs = runs
        self._open_device, self._find_cuda = open_device, find_cuda
        self._find_tensorrt = find_tensorrt
        self._manifest: Manifest | None = None
        self._loaded: TensorRTEngine | None = None

    def preparations(self) -> Iterator[tuple[str, Callable[[], Finding]]]:
        """Yield what needs nothing of the others."""
        yield 'model', self._describe_model
        yield 'ONNX Runtime', self._run_on_cpu
        yield 'CUDA', self._describe_gpu
        yield 'TensorRT', self._describe_tensorrt

    def engines(self) -> Iterator[tuple[str, Callable[[], Finding]]]:
        """Yield what each precision of the model is put through."""
        for precision in self._precisions():
            yield f'build and parity, {precision}', lambda p=precision: self._build(p)
            yield f'load from the cache, {precision}', lambda p=precision: self._load(p)
            for count in sorted({1, self._max_batch}):
                name = f'latency, {precision}, batches of {count}'
                yield name, lambda n=count: self._measure(self._loaded.run, n)
            self._loaded.close()

    def _precisions(self) -> list[str]:
        """Return the precisions that the model is there in, and TensorRT can take."""
        others = self._manifest.precisions.items()
        signed = [p for p, facts in others if p != 'int8' or facts.get('signed')]
        return ['fp32', *signed]

    def _describe_model(self) -> Finding:
        if self._model is None:
            self._model = self._folder / 'stand-in'
            write_synthetic_gpu_model(self._model)
        manifest = self._manifest = read_manifest(self._model)
        height, width = manifest.input_hw
        found = f'{manifest.network}, {manifest.keypoint_count} keypoints, {width}x{height} px'
        return found, {'onnx_sha256': manifest.files[ONNX_NAME], 'input_hw': manifest.input_hw}

    def _run_on_cpu(self) -> Finding:
        if self._manifest is None:
            return 'there is no model to run', {}
        answers = onnxruntime_answers(Path(self._model) / ONNX_NAME)
        found, facts = self._measure(answers, 1)
        return f'on the CPU: {found}', facts

    def _describe_gpu(self) -> Finding:
        with closing(self._find_cuda()) as cuda:
            gpu, library = cuda.gpu, cuda.library
        found = (
            f'{gpu.name}, compute capability {gpu.capability}, {gpu.multiprocessors} '
            f'multiprocessors, {gpu.memory_bytes / 2**30:.1f} GiB; CUDA {gpu.cuda}, by {library}'
        )
        return found, gpu._asdict() | {'library': library}

    def _describe_tensorrt(self) -> Finding:
        version = self._find_tensorrt().__version__
        return version, {'version': version}

    def _engine(self, precision: str) -> TensorRTEngine:
        return TensorRTEngine(
            self._model,
            self._manifest,
            precision=precision,
            max_batch=self._max_batch,
            cache_dir=self._folder / 'engines',
            open_device=self._open_device,
        )

    def _build(self, precision: str) -> Finding:
        with closing(self._engine(precision)) as engine:
            ready = engine.ready
        size = ready.place.stat().st_size if ready.place else 0
        parity = ready.parity
        found = (
            f'built in {ready.seconds:.1f} s, {size / 2**20:.1f} MiB; from ONNX Runtime '
            f'{parity["median_px"]:.4f} px (median), {parity["largest_px"]:.4f} px and '
            f'{parity["largest_confidence"]:.4f} in confidence (largest), {parity["off"]} of '
            f'{parity["points"]} points off, on {parity["frames"]} {parity["images"]}'
        )
        return found, {'seconds': ready.seconds, 'bytes': size, 'parity': parity}

    def _load(self, precision: str) -> Finding:
        started = time.perf_counter()
        engine = self._loaded = self._engine(precision)
        seconds = time.perf_counter() - started
        graphs = list(engine.ready.batches.graphs)
        listed = ', '.join(map(str, graphs)) or 'no size'
        found = f'{engine.ready.origin} in {seconds:.2f} s; CUDA graphs for batches of {listed}'
        facts = {'origin': engine.ready.origin, 'seconds': seconds, 'graphs': graphs}
        return found, facts | {'gpu_memory_bytes': engine.gpu_memory_bytes}

    def _measure(self, run: Callable[[np.ndarray], object], count: int) -> Finding:
        """Return how long passes take, the copies to and from the GPU counted in."""
        images = random_images(self._manifest.input_hw, count)
        times_ms = []
        for _ in range(self._runs):
            started = time.perf_counter()
            run(images)
            times_ms.append((time.perf_counter() - started) * 1e3)
        figures = {f'p{share}_ms': float(np.percentile(times_ms, share)) for share in SHARES}
        said = ', '.join(f'{name[:3]} {value:.3f} ms' for name, value in figures.items())
        return f'{said}, of {self._runs} passes', figures | {'runs': self._runs}


def main(arguments: list[str]) -> int:
    """Print the steps; return 0 if all are well."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format='%(message)s')
    model = None if arguments[0] == STAND_IN else Path(arguments[0])
    max_batch = int(arguments[1]) if len(arguments) > 1 else 2
    good = True
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_gpu_') as folder:
        for step in check_gpu(GpuCheck(model, Path(folder), max_batch=max_batch)):
            good = good and step.state == OK
            print(json.dumps(step._asdict()), flush=True)
    return 0 if good else 2


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
