"""TensorRT's module, and subclasses of its logger and progress monitor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import logging
from types import ModuleType
from typing import Any

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt.build_progress import BuildProgress

OLDEST = (10, 3)
NEWEST_MAJOR = 11
INSTALL = (
    'on a Jetson install JetPack 6 or newer and create a virtual environment with '
    '--system-site-packages, elsewhere `pip install tensorrt`'
)

log = logging.getLogger('keypoint_perception')


def import_tensorrt() -> ModuleType:
    """
    Return the module ``tensorrt``.

    :raises EngineError: if it is not installed, cannot be loaded or is too old
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # OSError: bindings without their libraries
        missing = isinstance(error, ModuleNotFoundError)
        found = 'not installed' if missing else 'installed but cannot be loaded'
        msg = f'Engine tensorrt is {found} ({error}); {INSTALL}, or choose engine onnxruntime.'
        raise EngineError(msg) from error
    version = getattr(tensorrt, '__version__', '0')
    parts = tuple(int(part) for part in version.split('.')[:2] if part.isdigit())
    oldest = '.'.join(map(str, OLDEST))
    if parts < OLDEST:
        msg = (
            f'TensorRT {version} is installed, expected {oldest} or newer; {INSTALL}, or choose '
            'engine onnxruntime.'
        )
        raise EngineError(msg)
    if parts[0] > NEWEST_MAJOR:
        log.warning(
            'TensorRT %s is newer than the versions this package supports (%s to %d); every '
            'engine is compared with ONNX Runtime before it is used.',
            version,
            oldest,
            NEWEST_MAJOR,
        )
    return tensorrt  # type: ignore[no-any-return]


def make_logger(trt: ModuleType) -> Any:
    """Return a logger that collects errors, which become part of an exception's message."""

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=20)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(msg)
            if severity != trt.ILogger.Severity.VERBOSE:
                log.debug('TensorRT: %s', msg)

    return Logger()


def make_monitor(trt: ModuleType, progress: BuildProgress) -> Any:
    """Return the progress monitor that the builder calls."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        """No exception may reach the builder, whose threads cannot handle it."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._guard(progress.phase_start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._guard(progress.step_complete, phase_name, step)
            return not progress.stopped

        def phase_finish(self, phase_name: str) -> None:
            self._guard(progress.phase_finish, phase_name)

        @staticmethod
        def _guard(method: Callable[..., object], *arguments: object) -> None:
            try:
                method(*arguments)
            except BaseException as error:  # including KeyboardInterrupt, which arrives here
                progress.stop(error)

    return Monitor()
