"""Load the engine of a model directory, warm it up and monitor its calls."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
import logging
from pathlib import Path
import time
from typing import Any, TypeVar

from keypoint_perception.errors import ConfigError, EngineError, PerceptionError
from keypoint_perception.faults import fault_sentence
from keypoint_perception.inference.engine import Engine, ENGINE_NAMES
from keypoint_perception.inference.estimator import check_points
from keypoint_perception.inference.onnx_providers import PROVIDER_NAMES
from keypoint_perception.manifest import parse_manifest
from keypoint_perception.model_directory import ONNX_NAME, PRECISIONS
from keypoint_perception.settings import setting, Settings
import numpy as np

logger = logging.getLogger('keypoint_perception')

Result = TypeVar('Result')


@dataclass(frozen=True)
class EngineSpec(Settings):
    """The engine to load, as parameters of the node specify it."""

    model: str = setting('', help='Model directory written by `train --out`. Required.')
    engine: str = setting(
        'auto',
        choices=ENGINE_NAMES,
        help='Inference engine; `auto` logs its choice and the reason.',
    )
    threads: int = setting(
        0, low=0, high=256, help='CPU threads per inference; 0: chosen by the engine.'
    )
    precision: str = setting(
        'fp32',
        choices=PRECISIONS,
        help='Precision of the network; `export --precision` creates the others.',
    )
    provider: str = setting(
        'auto',
        choices=PROVIDER_NAMES,
        help='Execution provider of ONNX Runtime; `auto` uses CUDA if available, else the CPU, '
        'and logs its choice and the reason.',
    )

    @property
    def model_dir(self) -> Path:
        """Return the model directory; raises ConfigError if it is not set."""
        if not self.model:
            msg = (
                'Parameter model is not set; set it to the directory that `train --out` wrote, as '
                'in `--ros-args -p model:=DIR`.'
            )
            raise ConfigError(msg)
        with suppress(RuntimeError):  # the home of nobody, which is then no directory
            return Path(self.model).expanduser()
        return Path(self.model)


class MonitoredEngine:
    """
    A warm engine that another thread can observe while it runs.

    :param identity: identifies its model, see :func:`model_identity`
    :ivar failures: consecutive calls that raised
    :ivar last_ms: duration of the last call
    """

    def __init__(self, engine: Engine, identity: str = '') -> None:
        self._engine = engine
        self.identity = identity
        self._started_s = 0.0
        self.failures = 0
        self.last_failure = ''
        self.successes = 0
        self.last_ms = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, images: np.ndarray) -> np.ndarray:
        return self._monitor(self._engine.run, images)

    def run_with_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._monitor(self._engine.run_with_landmarks, images)

    def _monitor(self, call: Callable[[np.ndarray], Result], images: np.ndarray) -> Result:
        started_s = self._started_s = time.monotonic()
        try:
            result = call(images)
        except Exception as error:
            self.failures += 1
            self.last_failure = f'{type(error).__name__}: {error}'
            raise
        finally:
            self._started_s = 0.0
            self.last_ms = (time.monotonic() - started_s) * 1e3
        self.failures = 0
        self.successes += 1
        return result

    def close(self) -> None:
        """Release the library's resources as far as it can."""
        try:
            self._engine.close()
        except Exception as error:
            logger.warning('the engine was not closed: %s', fault_sentence(error))

    @property
    def busy_s(self) -> float:
        """Return how long the current call has been running; 0 if there is none."""
        started_s = self._started_s
        return time.monotonic() - started_s if started_s else 0.0


def load_warm(
    load: Callable[..., Engine],
    spec: EngineSpec,
    max_batch: int,
    progress: Callable[[int, int, str], bool | None] | None = None,
) -> MonitoredEngine:
    """
    Load an engine, and run it until all one-time initialisation is done and its points are good.

    :param max_batch: the engine is warmed up for batches of 1 up to this many images
    :param progress: receives the progress of an engine that has to be built first
    :raises PerceptionError: if the model or the engine is missing or cannot run
    """
    model_dir = spec.model_dir
    try:
        engine = load(
            model_dir,
            spec.engine,
            threads=spec.threads,
            precision=spec.precision,
            provider=spec.provider,
            max_batch=max_batch,
            progress=progress,
        )
        try:
            batch = np.zeros((max_batch, *engine.input_hw, 3), np.uint8)
            noise = np.random.default_rng(0).integers(256, size=batch.shape, dtype=np.uint8)
            for images in (batch, noise, ~batch):  # black, noise, white
                for size in range(1, max_batch + 1):
                    answers = engine.run_with_landmarks(images[:size])
                    check_points(answers[0], size, engine.keypoint_names, engine.name)
                    check_points(answers[1], size, engine.landmark_names, engine.name)
            return MonitoredEngine(engine, model_identity(model_dir))
        except BaseException:
            engine.close()  # GPU memory is not released otherwise
            raise
    except PerceptionError:
        raise
    except Exception as error:  # raised by a library
        msg = f'The engine cannot run {spec.model!r}: {type(error).__name__}: {error}.'
        raise EngineError(msg) from error


def model_identity(model_dir: Path) -> str:
    """Return what identifies a model: directory, shape and the network's digest."""
    manifest = parse_manifest(model_dir)
    height, width = manifest.input_hw
    return (
        f'{model_dir} ({manifest.keypoint_count} keypoints, {width}x{height} px, '
        f'sha256 {manifest.files[ONNX_NAME][:12]})'
    )
