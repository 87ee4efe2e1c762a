"""
A compiled engine for this machine: from the cache, or built, compared and kept.

Several processes that need the same engine build it once. One that is found but may not be
loaded, or that TensorRT refuses, is built anew with a warning; one that does not answer what ONNX
Runtime answers is used by nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
import hashlib
import logging
from pathlib import Path
import platform
import time

from keypoint_perception import __version__
from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.inference.engine_cache import (
    EngineCache,
    EngineKey,
    LOCK_PATIENCE_S,
)
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
from keypoint_perception.inference.tensorrt.engine_parity import (
    Answers,
    check_parity,
    parity_images,
)
from keypoint_perception.manifest import Manifest, onnx_file
from keypoint_perception.seen_messages import SeenMessages
import numpy as np

MAX_BATCH = 64
CACHED, BUILT = 'from the cache', 'built'

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class Job:
    """
    An engine that is wanted.

    :param precision: of the network's file, one of ``manifest.PRECISIONS``
    """

    model_dir: Path
    manifest: Manifest
    precision: str = 'fp32'
    options: BuildOptions = field(default_factory=BuildOptions)

    def __post_init__(self) -> None:
        """
        Check the batch size.

        :raises EngineError: if it is out of range
        """
        if not 1 <= self.options.max_batch <= MAX_BATCH:
            msg = f'max batch: must be from 1 to {MAX_BATCH}, got {self.options.max_batch}.'
            raise EngineError(msg)

    @property
    def onnx(self) -> Path:
        """
        Return the network's file.

        :raises ModelError: if the model has none in this precision
        :raises EngineError: if it has one that TensorRT does not take
        """
        path = onnx_file(self.model_dir, self.manifest, self.precision)
        if self.precision == 'int8' and not self.manifest.precisions['int8'].get('signed'):
            msg = (
                f'Model {str(self.model_dir)!r} is there in int8 with unsigned bytes, which '
                f'TensorRT does not take; run `export {self.model_dir} --precision int8 --signed`.'
            )
            raise EngineError(msg)
        return path

    def key(self, onnx: bytes, device: TensorRTDevice) -> EngineKey:
        """Return all that the engine depends on."""
        options = self.options.facts()
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

    def outputs(self) -> dict[str, int]:
        """Return the points of each output that the manifest means, by name."""
        counts = {'keypoints': len(self.manifest.keypoint_names)}
        if self.manifest.landmark_names:
            counts['landmarks'] = len(self.manifest.landmark_names)
        return counts


@dataclass(frozen=True)
class Ready:
    """
    An engine, loaded and warm.

    :param origin: :data:`CACHED` or :data:`BUILT`
    :param place: its file in the cache, None if it was not kept
    :param seconds: that it took to build, None if it came from the cache
    :param parity: what the comparison found, as JSON, None if it came from the cache
    """

    batches: Batches
    origin: str
    place: Path | None
    seconds: float | None = None
    parity: dict | None = None


def ready_engine(
    job: Job,
    device: TensorRTDevice,
    cache: EngineCache,
    *,
    reference: Callable[[Path], Callable[[np.ndarray], Answers]],
    progress: Progress | None = None,
) -> Ready:
    """
    Return an engine, building it if there is none.

    :param reference: makes of a network's file what answers images as they should be answered
    :param progress: is told how far the build is
    :raises ModelError: if the model has no network in this precision, or another one than it says
    :raises EngineError: if it cannot be built, or does not answer as ONNX Runtime does
    """
    onnx = job.onnx.read_bytes()
    key = job.key(onnx, device)
    progress = progress or (lambda done, total, phase: True)
    with cache.sole_builder(key, _Waiting(cache.path / key.name, progress)):
        plan = cache.find(key)
        if plan is not None:
            try:
                batches = _load(job, device, plan)
            except PlanRefusedError as error:
                log.warning(
                    'TensorRT refuses the cached engine %s (%s); it will be built anew.',
                    cache.path / key.name,
                    error,
                )
            else:
                log.info('engine %s: from the cache', cache.path / key.name)
                return Ready(batches, CACHED, cache.path / key.name)
        return _build(job, key, onnx, device, cache, reference, progress)


def _build(job, key, onnx, device, cache, reference, progress: Progress) -> Ready:
    log.warning(
        'building the TensorRT engine %s for %s; this takes from half a minute on a desktop GPU '
        'to ten minutes on a small Jetson, once for this model and machine; `export %s --engine '
        'tensorrt` does it ahead of time',
        key.name,
        device.gpu.name,
        job.model_dir,
    )
    started = time.monotonic()
    phases = BuildProgress(LoggedProgress('building the TensorRT engine', progress))
    plan, timings = device.build(onnx, job.options, phases, cache.timings(key))
    seconds = time.monotonic() - started
    progress(0, 1, 'comparing with ONNX Runtime')
    try:
        batches = _load(job, device, plan)
    except PlanRefusedError as error:
        msg = (
            f'TensorRT {device.version} refuses the engine that it has just built ({error}); '
            'please report this with what `doctor --gpu` prints.'
        )
        raise EngineError(msg) from error
    try:
        parity = _compare(job, batches, reference)
    except BaseException:
        batches.close()
        raise
    progress(1, 1, 'comparing with ONNX Runtime')
    facts = {
        'seconds': round(seconds, 1),
        'parity': parity,
        'package': __version__,
        'cuda': device.cuda.library,
    }
    kept = cache.store(key, plan, facts)
    if kept:
        cache.store_timings(key, timings)
    place = cache.path / key.name if kept else None
    log.info('built the engine in %.0f s: %s', seconds, place or 'not kept')
    return Ready(batches, BUILT, place, seconds, parity)


def _load(job: Job, device: TensorRTDevice, plan: bytes) -> Batches:
    """
    Load an engine, see that it is one for the model, and warm it up.

    :raises PlanRefusedError: if TensorRT does not take it
    :raises ModelError: if its tensors are not those that the manifest means
    """
    loaded = device.load(plan, job.options.max_batch)
    try:
        _check_tensors(job, loaded)
        batches = Batches(loaded, job.options.max_batch)
        batches.warm_up()
    except BaseException:
        loaded.close()
        raise
    return batches


def _check_tensors(job: Job, loaded: LoadedPlan) -> None:
    height, width = job.manifest.input_hw
    meant = {'image': (True, 'uint8', (-1, height, width, 3))}
    meant |= {name: (False, 'float32', (-1, n, 3)) for name, n in job.outputs().items()}
    found = {t.name: (t.is_input, t.kind, t.shape) for t in loaded.tensors}
    if found != meant:
        listed = ', '.join(f'{t.name} {t.kind} {t.shape}' for t in loaded.tensors)
        wanted = ', '.join(f'{name} {kind} {shape}' for name, (_, kind, shape) in meant.items())
        msg = (
            f'The engine of model {str(job.model_dir)!r} has {listed}, but the manifest means '
            f'{wanted}; export the model again.'
        )
        raise ModelError(msg)


def _compare(job: Job, batches: Batches, reference) -> dict:
    """
    Return how an engine compares with ONNX Runtime on the same file.

    :raises EngineError: if it does not answer the same
    """
    images, what = parity_images(job.model_dir, job.manifest)
    if not what.startswith('frames'):
        log.warning('the engine is compared with ONNX Runtime on %s', what)
    sizes = (1, job.options.max_batch)
    parity = check_parity(
        batches.run,
        reference(job.onnx),
        images,
        what=what,
        precision=job.precision,
        batches=sizes,
    )
    log.info('the engine answers as ONNX Runtime does: %s', parity)
    return parity.facts()


class _Waiting:
    """Says once that another process builds, and tells the progress that it still does."""

    def __init__(self, place: Path, progress: Progress) -> None:
        self._place, self._progress = place, progress
        self._logged = SeenMessages()

    def __call__(self, holder: str, seconds: float) -> None:
        if self._logged.is_new('waiting'):
            log.info('process %s is building the engine %s; waiting for it', holder, self._place)
        self._progress(int(seconds), int(LOCK_PATIENCE_S), f'waiting for process {holder}')
