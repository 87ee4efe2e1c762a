"""
A compiled engine for this machine: loaded from the cache, or built, compared and cached.

Processes that need the same engine build it once. A cached engine that cannot be trusted, or that
TensorRT rejects, is rebuilt with a warning; one that differs from ONNX Runtime is discarded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
import hashlib
import logging
from pathlib import Path
import platform
from shlex import quote
import time
from typing import Any

from keypoint_perception import __version__
from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference.engine_cache import EngineCache, EngineKey, LOCK_TIMEOUT_S
from keypoint_perception.inference.onnx_content import check_content
from keypoint_perception.inference.tensorrt.batches import Batches
from keypoint_perception.inference.tensorrt.build_progress import (
    BuildProgress,
    LoggedProgress,
    Progress,
)
from keypoint_perception.inference.tensorrt.device import (
    BuildOptions,
    LoadedPlan,
    PlanRefusedError,
    TensorRTDevice,
)
from keypoint_perception.inference.tensorrt.engine_parity import compare_engine, parity_images, Run
from keypoint_perception.manifest import Manifest, onnx_file
from keypoint_perception.seen_messages import SeenMessages

MAX_BATCH = 64
CACHED, BUILT = 'from the cache', 'built'

# Returns a function that runs a network file, to compare the compiled engine with.
Reference = Callable[[Path], Run]

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class BuildRequest:
    """
    The engine to load or build.

    :param precision: of the network file, one of ``manifest.PRECISIONS``
    :raises EngineError: if the batch size is out of range
    """

    model_dir: Path
    manifest: Manifest
    precision: str = 'fp32'
    options: BuildOptions = field(default_factory=BuildOptions)

    def __post_init__(self) -> None:
        if not 1 <= self.options.max_batch <= MAX_BATCH:
            msg = f'max batch: must be from 1 to {MAX_BATCH}, got {self.options.max_batch}.'
            raise EngineError(msg)

    @property
    def onnx(self) -> Path:
        """
        Return the network file.

        :raises ModelError: if the model lacks the precision
        :raises EngineError: if TensorRT does not support the file
        """
        path = onnx_file(self.model_dir, self.manifest, self.precision)
        if self.precision == 'int8' and not self.manifest.precisions['int8'].get('signed'):
            msg = (
                f'Model {str(self.model_dir)!r} uses unsigned int8, which TensorRT does not '
                f'support; run `export {quote(str(self.model_dir))} --precision int8 --signed`.'
            )
            raise EngineError(msg)
        check_content(path)
        return path

    def key(self, onnx: bytes, device: TensorRTDevice) -> EngineKey:
        """Return everything that the engine depends on."""
        options = asdict(self.options)
        return EngineKey(
            onnx_sha256=hashlib.sha256(onnx).hexdigest(),
            tensorrt=device.version,
            gpu=device.gpu.name,
            capability=device.gpu.capability,
            multiprocessors=device.gpu.multiprocessors,
            platform=f'{platform.system()} {platform.machine()}',
            precision=self.precision,
            input_hw=self.manifest.input_hw,
            max_batch=options.pop('max_batch'),
            options=options,
        )

    def check_tensors(self, plan: LoadedPlan) -> None:
        """
        Compare the inputs and outputs of an engine with the manifest.

        :raises ModelError: if they differ
        """
        of = self.manifest
        expected: dict[str, tuple[bool, str, tuple[int, ...]]] = {
            'image': (True, 'uint8', (-1, *of.input_hw, 3))
        }
        for name, names in (('keypoints', of.keypoint_names), ('landmarks', of.landmark_names)):
            if names:
                expected[name] = (False, 'float32', (-1, len(names), 3))
        found = {t.name: (t.is_input, t.dtype, t.shape) for t in plan.tensors}
        if found != expected:
            lists = [
                ', '.join(f'{name} {dtype} {shape}' for name, (_, dtype, shape) in of.items())
                for of in (found, expected)
            ]
            msg = (
                f'The engine of model {str(self.model_dir)!r} has {lists[0]}, but the manifest '
                f'describes {lists[1]}; export the model again.'
            )
            raise ModelError(msg)


@dataclass(frozen=True)
class PreparedEngine:
    """
    A loaded engine, warmed up.

    :param origin: :data:`CACHED` or :data:`BUILT`
    :param path: its file in the cache, None if it could not be stored
    :param seconds: duration of the build, None if it was cached
    :param parity: comparison with ONNX Runtime, as JSON, None if it was cached
    """

    batches: Batches
    origin: str
    path: Path | None
    seconds: float | None = None
    parity: dict[str, Any] | None = None


def prepare_engine(
    request: BuildRequest,
    device: TensorRTDevice,
    cache: EngineCache,
    *,
    reference: Reference,
    progress: Progress | None = None,
) -> PreparedEngine:
    """
    Return an engine, built if it is not in the cache.

    :param progress: receives the progress of the build
    :raises ModelError: if the model lacks the precision, or does not match its manifest
    :raises EngineError: if the build fails, or the engine differs from ONNX Runtime
    """
    onnx = request.onnx.read_bytes()
    key = request.key(onnx, device)
    path = cache.path / key.name
    progress = progress or (lambda done, total, phase: True)
    with cache.build_lock(key, _report_wait(path, progress)):
        plan = cache.find(key)
        if plan is not None:
            try:
                batches = _load(request, device, plan)
            except PlanRefusedError as error:
                log.warning(
                    'TensorRT rejects the cached engine %s (%s); it will be rebuilt.', path, error
                )
            else:
                log.info('engine %s: from the cache', path)
                return PreparedEngine(batches, CACHED, path)
        return _build(request, key, onnx, device, cache, reference, progress)


def _build(
    request: BuildRequest,
    key: EngineKey,
    onnx: bytes,
    device: TensorRTDevice,
    cache: EngineCache,
    reference: Reference,
    progress: Progress,
) -> PreparedEngine:
    log.warning(
        'building the TensorRT engine %s for %s, once per model and machine; this takes from half '
        'a minute on a desktop GPU to ten minutes on a small Jetson; `export %s --engine '
        'tensorrt` does it ahead of time',
        key.name,
        device.gpu.name,
        quote(str(request.model_dir)),
    )
    started = time.monotonic()
    phases = BuildProgress(LoggedProgress('building the TensorRT engine', progress))
    plan, timings = device.build(onnx, request.options, phases, cache.timings(key))
    seconds = time.monotonic() - started
    progress(0, 1, 'comparing with ONNX Runtime')
    try:
        batches = _load(request, device, plan)
    except PlanRefusedError as error:
        msg = (
            f'TensorRT {device.version} rejects the engine that it has just built ({error}); '
            'report this with the output of `doctor --gpu`.'
        )
        raise EngineError(msg) from error
    try:
        parity = _compare(request, batches, reference)
    except BaseException:
        batches.close()
        raise
    progress(1, 1, 'comparing with ONNX Runtime')
    facts = {'package': __version__, 'cuda': device.cuda.library}
    stored = cache.store(key, plan, {'seconds': round(seconds, 1), 'parity': parity} | facts)
    if stored:
        cache.store_timings(key, timings)
    path = cache.path / key.name if stored else None
    log.info('built the engine in %.0f s: %s', seconds, path or 'not stored')
    return PreparedEngine(batches, BUILT, path, seconds, parity)


def _load(request: BuildRequest, device: TensorRTDevice, plan: bytes) -> Batches:
    """Load an engine, check that it fits the model, and warm it up."""
    loaded = device.load(plan, request.options.max_batch)
    try:
        request.check_tensors(loaded)
        batches = Batches(loaded, request.options.max_batch)
        batches.warm_up()
    except BaseException:
        loaded.close()
        raise
    return batches


def _compare(request: BuildRequest, batches: Batches, reference: Reference) -> dict[str, Any]:
    """Compare an engine with ONNX Runtime on the same network file."""
    images, described = parity_images(request.model_dir, request.manifest)
    if not described.startswith('frames'):
        log.warning('the engine is compared with ONNX Runtime on %s', described)
    parity = compare_engine(
        batches.run,
        reference(request.onnx),
        images,
        described=described,
        precision=request.precision,
        batches=(1, request.options.max_batch),
    )
    log.info('the engine agrees with ONNX Runtime: %s', parity)
    return parity.report()


def _report_wait(path: Path, progress: Progress) -> Callable[[str, float], None]:
    """Return a function that logs once that another process is building, and reports progress."""
    seen = SeenMessages()

    def report(holder: str, waited_s: float) -> None:
        if seen.is_new('waiting'):
            log.info('process %s is building the engine %s; waiting for it', holder, path)
        progress(int(waited_s), int(LOCK_TIMEOUT_S), f'waiting for process {holder}')

    return report
