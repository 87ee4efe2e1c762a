"""The inference thread."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import TYPE_CHECKING

from keypoint_perception.ros.perception.latest_buffer import LatestBuffer

if TYPE_CHECKING:
    from keypoint_perception.ros.perception.camera import QueuedImage
    from keypoint_perception.ros.perception.pipeline import Pipeline


class InferenceWorker:
    """
    Runs the newest images through a pipeline, never more than one per camera at a time.

    :param batch_budget_s: returns how long an image may wait for those of other cameras
    :param predecessor: a worker on the same buffer that has to finish before this one starts
    """

    def __init__(
        self,
        latest_buffer: LatestBuffer[QueuedImage],
        pipeline: Pipeline,
        batch_budget_s: Callable[[], float] = lambda: 0.0,
        *,
        predecessor: InferenceWorker | None = None,
    ) -> None:
        self._latest_buffer = latest_buffer
        self._pipeline = pipeline
        self._batch_budget_s = batch_budget_s
        self._predecessor = predecessor
        self._stopped = threading.Event()
        self._successor_may_start = threading.Event()
        self._lock = threading.Lock()
        self._exited = False
        self._on_exit: Callable[[], None] | None = None
        # A daemon thread, so that a hanging engine cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name='inference', daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._predecessor is not None:
            self._predecessor._successor_may_start.wait()
            self._predecessor = None
        try:
            while images := self._latest_buffer.take_all(
                budget_s=self._batch_budget_s(), cancelled=self._stopped.is_set
            ):
                self._pipeline.process(images)
        finally:
            self._successor_may_start.set()
            with self._lock:
                self._exited = True
            if self._on_exit is not None:
                self._on_exit()

    @property
    def alive(self) -> bool:
        """Return whether the thread is still running."""
        return self._thread.is_alive()

    def stop(self, timeout_s: float) -> bool:
        """Stop after the images in progress; return whether the thread exited in time."""
        self._request_stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def retire(self, on_exit: Callable[[], None]) -> None:
        """
        Stop after the images in progress, without waiting.

        :param on_exit: called in the thread when it exits, or at once if it has exited
        """
        with self._lock:
            exited = self._exited
            if not exited:
                self._on_exit = on_exit
        if exited:
            on_exit()
        self._request_stop()

    def _request_stop(self) -> None:
        self._stopped.set()
        self._latest_buffer.notify()

    def abandon(self) -> None:
        """Give up a thread that hangs: publish nothing more of it and let a successor start."""
        self._pipeline.close()
        self._successor_may_start.set()
