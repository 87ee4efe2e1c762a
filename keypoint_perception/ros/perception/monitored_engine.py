"""An engine whose calls are timed and whose failures are counted."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any, TypeVar

from keypoint_perception.inference.engine import Engine
import numpy as np

Result = TypeVar('Result')


class MonitoredEngine:
    """
    An engine that another thread can observe while it runs.

    :ivar failures: consecutive calls that raised
    :ivar last_failure: the last exception raised, as text
    :ivar successes: calls that returned
    :ivar last_ms: duration of the last call
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._started_s = 0.0
        self.failures = 0
        self.last_failure = ''
        self.successes = 0
        self.last_ms = 0.0

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the engine itself."""
        return getattr(self._engine, name)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the keypoints of a batch."""
        return self._monitor(self._engine.run, images)

    def run_with_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints and the landmarks of a batch."""
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

    @property
    def busy_s(self) -> float:
        """Return how long the current call has been running; 0 if there is none."""
        started_s = self._started_s
        return time.monotonic() - started_s if started_s else 0.0
