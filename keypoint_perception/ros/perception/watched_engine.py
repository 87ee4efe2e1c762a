"""An engine under watch: how long it has been at work, and how often it has failed."""

from __future__ import annotations

from collections.abc import Callable
import time

from keypoint_perception.inference.engine import Engine
import numpy as np


class WatchedEngine:
    """
    An engine that can be looked at from another thread while it works.

    :ivar failures: calls in a row that the engine has not answered
    :ivar last_failure: what the last of them raised
    :ivar answers: calls that it has answered
    :ivar last_ms: how long the last call took
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._began = 0.0
        self.failures = 0
        self.last_failure = ''
        self.answers = 0
        self.last_ms = 0.0

    def __getattr__(self, name: str):
        """Return what the engine itself has."""
        return getattr(self._engine, name)

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the keypoints of a batch."""
        return self._watch(self._engine.run, images)

    def run_named(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints and the named points of a batch."""
        return self._watch(self._engine.run_named, images)

    def _watch(self, call: Callable, images: np.ndarray):
        began = self._began = time.monotonic()
        try:
            answer = call(images)
        except Exception as error:
            self.failures += 1
            self.last_failure = f'{type(error).__name__}: {error}'
            raise
        finally:
            self._began = 0.0
            self.last_ms = (time.monotonic() - began) * 1e3
        self.failures = 0
        self.answers += 1
        return answer

    @property
    def busy_s(self) -> float:
        """Return for how long the engine has been at a call; 0 if it is at none."""
        began = self._began
        return time.monotonic() - began if began else 0.0
