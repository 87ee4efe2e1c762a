"""
Owns the engine in use: loads it, swaps it between two images, replaces one that fails.

A new engine is loaded in its own thread while the current one keeps running. An engine that hangs
cannot be stopped; it is abandoned together with its thread, which closes it if the call ever
returns.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, wait
import logging
import threading
import time
from typing import NamedTuple, TypeVar

from keypoint_perception.errors import EngineError, PerceptionError
from keypoint_perception.ros.perception.engine_loading import EngineSpec, MonitoredEngine
from keypoint_perception.ros.perception.inference_worker import InferenceWorker
from keypoint_perception.seen_messages import SeenMessages

logger = logging.getLogger('keypoint_perception')

# Consecutive failures after which the engine is considered broken, rather than an image.
MAX_FAILURES = 3
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 60.0
# Successful calls after which an engine is considered healthy again.
HEALTHY_AFTER = 10
POLL_S = 0.25
# Every engine that hangs keeps its memory and a thread.
MAX_HANGING = 3
# An engine that takes longer to load no longer makes another one wait.
MAX_LOADING_S = 60.0
CLEANED_UP = 'the node was cleaned up in the meantime.'
SUPERSEDED = 'another model was requested in the meantime.'
# Called when a swap has ended, with the reason why it failed, or with an empty text.
SwapCallback = Callable[[str], None]
Result = TypeVar('Result')


class LoadingEngine(NamedTuple):
    """An engine that is being loaded, whom to tell, and since when."""

    engine: Future[MonitoredEngine]
    done: SwapCallback
    started_s: float


class EngineSupervisor:
    """
    Owns the engine in use; all methods are for the executor's thread.

    :param start_worker: starts a worker on an engine, after its predecessor's last images
    :param call_in_executor: schedules a function in the executor's thread
    :param on_swap: called after another engine has taken over
    :ivar identity: identifies the model in use; empty if there is none
    :ivar fault: why no engine is running although one should be; empty otherwise
    """

    def __init__(
        self,
        load: Callable[[EngineSpec], MonitoredEngine],
        start_worker: Callable[[MonitoredEngine, InferenceWorker | None], InferenceWorker],
        call_in_executor: Callable[[Callable[[], None]], None],
        on_swap: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._start_worker = start_worker
        self._call_in_executor = call_in_executor
        self._on_swap = on_swap
        self.engine: MonitoredEngine | None = None
        self._worker: InferenceWorker | None = None
        self._retired: list[tuple[InferenceWorker, MonitoredEngine]] = []
        self._active = False
        self._loading: LoadingEngine | None = None
        self._pending: tuple[EngineSpec, SwapCallback] | None = None
        self._given_up: list[Future[MonitoredEngine]] = []
        self._retry_s = FIRST_RETRY_S
        self._retry_at_s = 0.0
        self._logged = SeenMessages()
        self.spec: EngineSpec | None = None
        self.identity = ''
        self.fault = ''
        self.faults = 0
        self.last_error = ''

    @property
    def loading(self) -> bool:
        """Return whether another engine is being loaded."""
        return self._loading is not None

    @property
    def description(self) -> str:
        """Return the description of the engine in use; empty if there is none."""
        return '' if self.engine is None else self.engine.description

    @property
    def gpu_memory(self) -> str:
        held = getattr(self.engine, 'gpu_memory_bytes', None)
        return 'not applicable' if held is None else f'{held / 2**20:.0f} MiB'

    def load(self, spec: EngineSpec, keep_waiting: Callable[[], bool] = lambda: True) -> None:
        """
        Load the first engine and wait for it.

        :param keep_waiting: polled while loading; if it returns False, the loading thread is
            abandoned
        :raises PerceptionError: if the engine cannot be loaded, or the wait was cancelled
        """
        loaded = self._start_loading(spec)
        while not wait([loaded], POLL_S).done:
            if not keep_waiting():
                msg = f'{spec.model!r} was still loading when the node was shut down.'
                raise EngineError(msg)
        self._use(spec, loaded.result())

    def activate(self) -> None:
        """Start processing images."""
        self._active = True
        if self.engine is not None:
            self._worker = self._start_worker(self.engine, None)

    def deactivate(self, timeout_s: float) -> bool:
        """Stop processing images; return whether the engine finished in time."""
        self._active = False
        worker = self._worker
        if worker is None or worker.stop(timeout_s):
            self._worker = None
            return True
        self._abandon(worker)
        self._set_fault('the engine was still busy when it was deactivated', retry_s=0.0)
        return False

    def unload(self) -> None:
        """Close the engine."""
        pending, self._pending = self._pending, None
        if self.engine is not None:
            self.engine.close()
        self.engine, self.spec, self.identity, self.fault = None, None, '', ''
        self._retry_s = FIRST_RETRY_S
        self._give_up_loading(CLEANED_UP)
        if pending is not None:
            pending[1](CLEANED_UP)

    def swap(self, spec: EngineSpec, done: SwapCallback) -> None:
        """
        Load another engine beside the one in use, and switch to it once it is warm.

        :param done: called at the end with the reason if the current engine stays, otherwise
            with an empty text
        """
        if self.loading:  # one at a time; of the pending requests only the last one counts
            if self._pending is not None:
                self._pending[1](SUPERSEDED)
            self._pending = (spec, done)
            return
        loaded = self._start_loading(spec)
        self._loading = LoadingEngine(loaded, done, time.monotonic())
        loaded.add_done_callback(
            lambda _: self._call_in_executor(lambda: self._finish_swap(spec, loaded))
        )

    def _start_loading(self, spec: EngineSpec) -> Future[MonitoredEngine]:
        self._given_up = [loaded for loaded in self._given_up if not loaded.done()]
        if len(self._given_up) < MAX_HANGING:
            return in_thread('loading', lambda: self._load(spec))
        refused: Future[MonitoredEngine] = Future()
        msg = f'{len(self._given_up)} other models are still being loaded; restart the node.'
        refused.set_exception(EngineError(msg))
        return refused

    def _give_up_loading(self, reason: str) -> None:
        """Do not wait any longer for the engine that is being loaded."""
        loading, self._loading = self._loading, None
        if loading is not None:
            self._given_up.append(loading.engine)
            loading.done(reason)

    def _finish_swap(self, spec: EngineSpec, loaded: Future[MonitoredEngine]) -> None:
        error, loading = loaded.exception(), self._loading
        if loading is None or loading.engine is not loaded:  # given up
            if error is None:
                loaded.result().close()
            return
        self._loading = None
        pending, self._pending = self._pending, None
        if error is not None:
            known = isinstance(error, PerceptionError)
            loading.done(str(error) if known else f'{type(error).__name__}: {error}.')
        elif pending is not None:
            loaded.result().close()
            loading.done(SUPERSEDED)
        else:
            self._use(spec, loaded.result())
            self._on_swap()
            loading.done('')
        if pending is not None:
            self.swap(*pending)

    def _use(self, spec: EngineSpec, engine: MonitoredEngine) -> None:
        previous, worker = self.engine, self._worker
        self.engine, self.spec, self.identity, self.fault = engine, spec, engine.identity, ''
        if self._active:
            self._worker = self._start_worker(engine, worker)
        if previous is not None and worker is not None:
            self._retired.append((worker, previous))
            worker.retire(previous.close)
        elif previous is not None:
            previous.close()

    def check(self, timeout_s: float) -> None:
        """
        Check the engine and replace it if it hangs or fails; call this periodically.

        :param timeout_s: longest duration of one engine call; 0 = unlimited
        """
        if self._loading is not None and self._pending is not None:
            seconds = time.monotonic() - self._loading.started_s
            if seconds > MAX_LOADING_S:
                pending, self._pending = self._pending, None
                self._give_up_loading(f'it was still being loaded after {seconds:.0f} s.')
                self.swap(*pending)
        self._retired = [(worker, engine) for worker, engine in self._retired if worker.alive]
        for worker, engine in self._retired:
            if 0 < timeout_s < engine.busy_s:
                worker.abandon()
        if self.fault:
            self._retry()
        elif self._worker is not None and self.engine is not None:
            self._check_running(self._worker, self.engine, timeout_s)

    def _check_running(
        self, worker: InferenceWorker, engine: MonitoredEngine, timeout_s: float
    ) -> None:
        reason = ''
        if 0 < timeout_s < engine.busy_s:
            reason = f'the engine has not responded for {engine.busy_s:.0f} s'
        elif engine.failures >= MAX_FAILURES:
            reason = f'the engine failed {engine.failures} times in a row ({engine.last_failure})'
        elif not worker.alive:
            reason = 'the inference thread has died, which is a bug'
        elif engine.successes >= HEALTHY_AFTER:
            self._retry_s = FIRST_RETRY_S
        if reason:
            self._abandon(worker)
            self.faults += 1
            self._set_fault(reason, retry_s=self._retry_s)
            self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)

    def _abandon(self, worker: InferenceWorker) -> None:
        engine, self.engine, self._worker = self.engine, None, None
        assert engine is not None, 'a worker runs an engine'
        self._retired.append((worker, engine))
        worker.abandon()
        worker.retire(engine.close)

    def _set_fault(self, reason: str, *, retry_s: float) -> None:
        self._retry_at_s = time.monotonic() + retry_s
        self.fault = self.last_error = f'{reason}; it will be reloaded until it works.'
        if self._logged.is_new(reason):
            logger.error('%s Further faults are only counted, in /diagnostics.', self.fault)

    def _retry(self) -> None:
        if self.loading or not self._active or time.monotonic() < self._retry_at_s:
            return
        if len(self._retired) >= MAX_HANGING:
            self.fault = f'{len(self._retired)} engines hang; restart the node.'
            return
        fault = self.fault

        def done(reason: str) -> None:
            if not reason:
                logger.warning('the engine has recovered from fault %d: %s', self.faults, fault)
            elif self.fault:
                self.fault = self.last_error = f'the engine cannot be reloaded: {reason}'
                self._retry_at_s = time.monotonic() + self._retry_s
                self._retry_s = min(2 * self._retry_s, MAX_RETRY_S)

        assert self.spec is not None, 'a fault is of an engine that was loaded'
        self.swap(self.spec, done)


def in_thread(name: str, function: Callable[[], Result]) -> Future[Result]:
    """Call a function in a thread of its own, which does not keep the process alive."""
    future: Future[Result] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=call, name=name, daemon=True).start()
    return future
