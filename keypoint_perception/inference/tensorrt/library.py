"""TensorRT's module, and the two classes of it that it calls back."""

from __future__ import annotations

from collections import deque
import logging

from keypoint_perception.errors import EngineError
from keypoint_perception.inference.tensorrt.build_progress import BuildProgress

OLDEST = (10, 3)
NEWEST_MAJOR = 11
INSTALL = (
    'on a Jetson install JetPack 6 or newer and make a virtual environment with '
    '--system-site-packages, elsewhere `pip install tensorrt`'
)

log = logging.getLogger('keypoint_perception')


def import_tensorrt():
    """
    Return the module ``tensorrt``.

    :raises EngineError: if it is not installed, cannot be loaded or is too old
    """
    try:
        import tensorrt
    except ModuleNotFoundError as error:
        msg = (
            f'Engine tensorrt is not installed ({error}); {INSTALL}, or choose engine onnxruntime.'
        )
        raise EngineError(msg) from error
    except (ImportError, OSError) as error:  # bindings without their libraries
        msg = (
            f'Engine tensorrt is installed but cannot be loaded ({error}); {INSTALL}, or choose '
            'engine onnxruntime.'
        )
        raise EngineError(msg) from error
    version = getattr(tensorrt, '__version__', '0')
    parts = tuple(int(part) for part in version.split('.')[:2] if part.isdigit())
    if parts < OLDEST:
        oldest = '.'.join(map(str, OLDEST))
        msg = (
            f'TensorRT {version} is installed, expected {oldest} or newer; {INSTALL}, or choose '
            'engine onnxruntime.'
        )
        raise EngineError(msg)
    if parts[0] > NEWEST_MAJOR:
        log.warning(
            'TensorRT %s is newer than what this package was written for (%s to %d); every '
            'engine is compared with ONNX Runtime before it is used.',
            version,
            '.'.join(map(str, OLDEST)),
            NEWEST_MAJOR,
        )
    return tensorrt


def make_logger(trt):
    """
    Return a logger that remembers complaints in ``said``.

    They become part of the sentence of what is raised; the log would only have them twice.
    """

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: deque[str] = deque(maxlen=20)

        def log(self, severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.said.append(msg)
            if severity != trt.ILogger.Severity.VERBOSE:
                log.debug('TensorRT: %s', msg)

    return Logger()


def make_monitor(trt, progress: BuildProgress):
    """Return what the builder reports its phases to."""

    class Monitor(trt.IProgressMonitor):
        """An exception must not reach the builder, whose threads cannot carry it."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(progress.phase_start, phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(progress.step_complete, phase_name, step)
            return not progress.stopped

        def phase_finish(self, phase_name: str) -> None:
            self._tell(progress.phase_finish, phase_name)

        @staticmethod
        def _tell(method, *arguments) -> None:
            try:
                method(*arguments)
            except BaseException as error:  # Ctrl-C too: it comes where Python runs, which is here
                progress.stop(error)

    return Monitor()
