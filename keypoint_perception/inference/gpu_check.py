"""
A check of compiled engines on this machine, step by step: build, compare, load, measure.

It is a program, so that a crash of a library does not end its caller::

    python -m keypoint_perception.inference.gpu_check MODEL|- [MAX_BATCH]

Each step is printed as soon as it is complete, one JSON object per line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
import json
import logging
from pathlib import Path
import sys
import tempfile
import time
from typing import Any, NamedTuple

from keypoint_perception.errors import PerceptionError
from keypoint_perception.inference.synthetic_gpu_model import write_synthetic_gpu_model
from keypoint_perception.inference.tensorrt.cuda import Cuda
from keypoint_perception.inference.tensorrt.device import TensorRTDevice
from keypoint_perception.inference.tensorrt.engine_parity import onnxruntime_outputs, random_images
from keypoint_perception.inference.tensorrt.library import import_tensorrt
from keypoint_perception.inference.tensorrt.tensorrt_engine import TensorRTEngine
from keypoint_perception.manifest import Manifest, read_manifest
from keypoint_perception.model_directory import ONNX_NAME
import numpy as np

OK, FAILED = 'ok', 'failed'
SYNTHETIC = '-'
LATENCY_RUNS = 500
PERCENTILES = (50, 95, 99)


class CheckStep(NamedTuple):
    """The result of one step; ``found`` is for people, ``facts`` for programs."""

    name: str
    state: str
    found: str
    facts: dict[str, Any]


Finding = tuple[str, dict[str, Any]]
OpenDevice = Callable[[], TensorRTDevice]


def check_gpu(check: GpuCheck) -> Iterator[CheckStep]:
    """Yield the steps: independent preparations, then the engines if these are complete."""
    ready = True
    for name, take in check.preparations():
        step = _attempt(name, take)
        ready = ready and step.state == OK
        yield step
    engines = check.engines() if ready else ()
    for name, take in engines:
        step = _attempt(name, take)
        yield step
        if step.state != OK:
            return


def _attempt(name: str, take: Callable[[], Finding]) -> CheckStep:
    try:
        return CheckStep(name, OK, *take())
    except PerceptionError as error:
        return CheckStep(name, FAILED, str(error), {})
    except Exception as error:  # of a library
        return CheckStep(name, FAILED, f'{type(error).__name__}: {error}', {})


class GpuCheck:
    """
    The steps of the check.

    :param model: model directory; None: a small synthetic model
    :param folder: for the synthetic model and the engines; the user's cache is not used
    :param runs: passes to measure
    """

    def __init__(
        self,
        model: Path | None,
        folder: Path,
        *,
        max_batch: int = 2,
        runs: int = LATENCY_RUNS,
        open_device: OpenDevice = TensorRTDevice,
        find_cuda: Callable[[], Cuda] = Cuda,
        find_tensorrt: Callable[[], Any] = import_tensorrt,
    ) -> None:
        self._synthetic = model is None
        self._model = folder / 'synthetic' if model is None else model
        self._folder, self._max_batch, self._runs = folder, max_batch, runs
        self._open_device, self._find_cuda = open_device, find_cuda
        self._find_tensorrt = find_tensorrt
        self._manifest: Manifest | None = None

    def preparations(self) -> Iterator[tuple[str, Callable[[], Finding]]]:
        """Yield steps that are independent of each other."""
        yield 'model', self._describe_model
        yield 'ONNX Runtime', self._run_on_cpu
        yield 'CUDA', self._describe_gpu
        yield 'TensorRT', self._describe_tensorrt

    def engines(self) -> Iterator[tuple[str, Callable[[], Finding]]]:
        """Yield the steps of each precision of the model that TensorRT supports."""
        assert self._manifest is not None
        others = self._manifest.precisions.items()
        supported = [p for p, facts in others if p != 'int8' or facts.get('signed')]
        for precision in ['fp32', *supported]:
            yield f'build and parity, {precision}', partial(self._build, precision)
            loaded: list[TensorRTEngine] = []
            yield f'load from the cache, {precision}', partial(self._load, precision, loaded)
            with closing(loaded[0]) as engine:
                for count in sorted({1, self._max_batch}):
                    name = f'latency, {precision}, batches of {count}'
                    yield name, partial(self._measure, engine.run, count)

    def _describe_model(self) -> Finding:
        if self._synthetic:
            write_synthetic_gpu_model(self._model)
        manifest = self._manifest = read_manifest(self._model)
        height, width = manifest.input_hw
        found = f'{manifest.network}, {manifest.keypoint_count} keypoints, {width}x{height} px'
        return found, {'onnx_sha256': manifest.files[ONNX_NAME], 'input_hw': manifest.input_hw}

    def _run_on_cpu(self) -> Finding:
        if self._manifest is None:
            return 'no model to run', {}
        found, facts = self._measure(onnxruntime_outputs(self._model / ONNX_NAME), 1)
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
        assert self._manifest is not None
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
            built = engine.prepared
        size = built.path.stat().st_size if built.path else 0
        parity = built.parity
        assert parity is not None, 'the folder of the check had an engine already'
        found = (
            f'built in {built.seconds:.1f} s, {size / 2**20:.1f} MiB; differs from ONNX Runtime '
            f'by {parity["median_px"]:.4f} px (median), at most {parity["largest_px"]:.4f} px and '
            f'{parity["largest_confidence"]:.4f} in confidence, {parity["off"]} of '
            f'{parity["points"]} points off, on {parity["frames"]} {parity["images"]}'
        )
        return found, {'seconds': built.seconds, 'bytes': size, 'parity': parity}

    def _load(self, precision: str, loaded: list[TensorRTEngine]) -> Finding:
        started = time.perf_counter()
        engine = self._engine(precision)
        seconds = time.perf_counter() - started
        loaded.append(engine)
        origin, graphs = engine.prepared.origin, list(engine.prepared.batches.graphs)
        sizes = ', '.join(map(str, graphs)) or 'no size'
        found = f'{origin} in {seconds:.2f} s; CUDA graphs for batches of {sizes}'
        facts = {'origin': origin, 'seconds': seconds, 'graphs': graphs}
        return found, facts | {'gpu_memory_bytes': engine.gpu_memory_bytes}

    def _measure(self, run: Callable[[np.ndarray], object], count: int) -> Finding:
        """Return the latency of a pass, including copies to and from the GPU."""
        assert self._manifest is not None
        images = random_images(self._manifest.input_hw, count)
        times_ms = []
        for _ in range(self._runs):
            started = time.perf_counter()
            run(images)
            times_ms.append((time.perf_counter() - started) * 1e3)
        figures = {f'p{n}_ms': float(np.percentile(times_ms, n)) for n in PERCENTILES}
        found = ', '.join(f'{name[:3]} {value:.3f} ms' for name, value in figures.items())
        return f'{found}, of {self._runs} passes', figures | {'runs': self._runs}


def main(arguments: list[str]) -> int:
    """Print the steps; return 0 if all succeed."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format='%(message)s')
    model = None if arguments[0] == SYNTHETIC else Path(arguments[0])
    max_batch = int(arguments[1]) if len(arguments) > 1 else 2
    succeeded = True
    with tempfile.TemporaryDirectory(prefix='keypoint_perception_gpu_') as folder:
        for step in check_gpu(GpuCheck(model, Path(folder), max_batch=max_batch)):
            succeeded = succeeded and step.state == OK
            print(json.dumps(step._asdict()), flush=True)
    return 0 if succeeded else 2


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
