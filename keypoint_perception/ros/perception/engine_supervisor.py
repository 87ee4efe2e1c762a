"""
Keeps an engine at work: loads it, exchanges it between two images, replaces one that fails.

Engines are built in a thread of their own while the old one goes on. One that hangs cannot be
stopped; its thread is left alone with it, and gives it back if it ever returns.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import queue
import threading
import time

from keypoint_perception.errors import EngineError, PerceptionError
from keypoint_perception.ros.perception.engine_loading import EngineSpec, Loaded
from keypoint_perception.ros.perception.inference_worker import Worker
from keypoint_perception.ros.perception.watched_engine import WatchedEngine

logger = logging.getLogger('keypoint_perception')

# Calls in a row that fail before the engine is thought to be broken, and not the image.
FAILURES = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
# Images after which an engine is thought to be well again.
WELL_AFTER = 10
# Between two looks whether an engine that is being loaded is still wanted.
ASK_AGAIN_S = 0.25
# Each engine that hangs keeps its memory and a thread.
MOST_HANGING = 3
CLEANED_UP = 'the node was cleaned up meanwhile.'


class EngineSupervisor:
    """
    The engine in use; all methods are for the executor's thread.

    :param load: makes a warm engine
    :param employ: starts a worker with an engine, after another worker's last images
    :param soon: has a function called in the executor's thread
    :param exchanged: called when another engine has taken over
    :ivar wish: what the engine in use was made from; None if there is none
    :ivar fault: why there is no engine at work though there should be; empty if there is one
    :ivar faults: how often that has happened
    :ivar last_error: the last thing that went wrong with an engine
    """

    def __init__(
        self,
        load: Callable[[EngineSpec], Loaded],
        employ: Callable[[WatchedEngine, Worker | None], Worker],
        soon: Callable[[Callable[[], None]], None],
        exchanged: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._exchanged = exchanged
        self._employ = employ
        self._soon = soon
        self._engine: WatchedEngine | None = None
        self._worker: Worker | None = None
        self._leaving: list[tuple[Worker, WatchedEngine]] = []
        self._active = False
        self._loading = False
        self._next: tuple[EngineSpec, Callable[[str], None]] | None = None
        self._life = 0
        self._pause_s = FIRST_PAUSE_S
        self._retry_at = 0.0
        self._said: set[str] = set()
        self.wish: EngineSpec | None = None
        self.identity = ''
        self.fault = ''
        self.faults = 0
        self.last_error = ''

    @property
    def engine(self) -> WatchedEngine | None:
        """Return the engine in use; None if there is none."""
        return self._engine

    @property
    def loading(self) -> bool:
        """Return whether another engine is being built."""
        return self._loading

    @property
    def gpu_memory(self) -> str:
        """Return what the engine holds on its device, in words."""
        held = getattr(self._engine, 'gpu_memory_bytes', None)
        return 'not applicable' if held is None else f'{held / 2**20:.0f} MiB'

    def load(self, wish: EngineSpec, wanted: Callable[[], bool] = lambda: True) -> None:
        """
        Load the first engine, and wait for it.

        :param wanted: asked now and then; once it is not, its thread is left alone with it
        :raises PerceptionError: if there is no such engine, or it is not wanted any more
        """
        results: queue.SimpleQueue[Loaded | Exception] = queue.SimpleQueue()
        self._build(wish, results.put)
        while True:
            try:
                result = results.get(timeout=ASK_AGAIN_S)
                break
            except queue.Empty:
                if not wanted():
                    msg = f'{wish.model!r} was still being loaded when the node was told to end.'
                    raise EngineError(msg) from None
        if isinstance(result, Exception):
            raise result
        self._use(wish, result)

    def _build(self, wish: EngineSpec, built: Callable[[Loaded | Exception], None]) -> None:
        """Load an engine in a thread of its own, and hand over what came of it, in that thread."""

        def build() -> None:
            try:
                result: Loaded | Exception = self._load(wish)
            except Exception as error:
                result = error
            built(result)

        threading.Thread(target=build, name='loading', daemon=True).start()

    def activate(self) -> None:
        """Begin to take images."""
        self._active = True
        if self._engine is not None:
            self._worker = self._employ(self._engine, None)

    def deactivate(self, timeout_s: float) -> bool:
        """Take no more images; return whether the engine has come to an end in time."""
        self._active = False
        worker, self._worker = self._worker, None
        if worker is None or worker.stop(timeout_s):
            return True
        self._leave_alone(worker)
        self._set_fault('the engine was still busy when it was told to stop', pause_s=0.0)
        return False

    def unload(self) -> None:
        """Give the engine back."""
        self._life += 1
        waiting, self._next = self._next, None
        if waiting is not None:
            waiting[1](CLEANED_UP)
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        self.wish, self.identity, self.fault = None, '', ''
        self._pause_s = FIRST_PAUSE_S

    def exchange(self, wish: EngineSpec, done: Callable[[str], None]) -> None:
        """
        Build another engine beside the one in use, and use it when it is warm.

        :param done: called at the end with the reason why the old one goes on, or with nothing
        """
        if self._loading:  # one at a time; of those that wait only the last is wanted
            if self._next is not None:
                self._next[1]('another one was asked for meanwhile.')
            self._next = (wish, done)
            return
        self._loading = True
        life = self._life
        self._build(
            wish,
            lambda result: self._soon(lambda: self._built(life, wish, result, done)),
        )

    def _built(self, life: int, wish: EngineSpec, result: Loaded | Exception, done) -> None:
        self._loading = False
        waiting, self._next = self._next, None
        if isinstance(result, Exception):
            done(in_words(result))
        elif life != self._life:
            result.engine.close()
            done(CLEANED_UP)
        elif waiting is not None:
            result.engine.close()
            done('another one was asked for meanwhile.')
        else:
            self._use(wish, result)
            self._exchanged()
            done('')
        if waiting is not None:
            self.exchange(*waiting)

    def _use(self, wish: EngineSpec, loaded: Loaded) -> None:
        engine, worker = self._engine, self._worker
        self._engine = WatchedEngine(loaded.engine)
        self.wish, self.identity, self.fault = wish, loaded.identity, ''
        if self._active:
            self._worker = self._employ(self._engine, worker)
        if worker is not None:
            self._leaving.append((worker, engine))
            worker.release(engine.close)
        elif engine is not None:
            engine.close()

    def watch(self, timeout_s: float) -> None:
        """
        Look after the engine; call it now and then.

        :param timeout_s: how long a call of the engine may take; 0 = for ever
        """
        self._leaving = [(worker, engine) for worker, engine in self._leaving if worker.alive]
        for worker, engine in self._leaving:
            if 0 < timeout_s < engine.busy_s:
                worker.abandon()
        if self.fault:
            self._try_again()
        elif self._worker is not None:
            self._judge(timeout_s)

    def _judge(self, timeout_s: float) -> None:
        engine = self._engine
        if 0 < timeout_s < engine.busy_s:
            self._give_up(f'the engine has not answered for {engine.busy_s:.0f} s')
        elif engine.failures >= FAILURES:
            reason = f'the engine failed {engine.failures} times in a row ({engine.last_failure})'
            self._give_up(reason)
        elif not self._worker.alive:
            self._give_up('the inference thread has ended, which is a bug')
        elif engine.answers >= WELL_AFTER:
            self._pause_s = FIRST_PAUSE_S

    def _give_up(self, reason: str) -> None:
        worker, self._worker = self._worker, None
        self._leave_alone(worker)
        self.faults += 1
        self._set_fault(reason, pause_s=self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _leave_alone(self, worker: Worker) -> None:
        engine, self._engine = self._engine, None
        self._leaving.append((worker, engine))
        worker.abandon()
        worker.release(engine.close)

    def _set_fault(self, reason: str, *, pause_s: float) -> None:
        self._retry_at = time.monotonic() + pause_s
        self.fault = self.last_error = f'{reason}; it is loaded again until it works.'
        kind = reason.split('(')[0].rstrip('0123456789 s')
        if kind not in self._said:
            self._said.add(kind)
            logger.error('%s Further faults are only counted, in /diagnostics.', self.fault)

    def _try_again(self) -> None:
        if self._loading or not self._active or time.monotonic() < self._retry_at:
            return
        if len(self._leaving) >= MOST_HANGING:
            self.fault = f'{len(self._leaving)} engines hang; start the node again.'
            return
        fault = self.fault

        def tried(reason: str) -> None:
            if not reason:
                logger.warning('the engine is back after fault %d: %s', self.faults, fault)
            elif self.fault:
                self.fault = self.last_error = f'the engine cannot be loaded again: {reason}'
                self._retry_at = time.monotonic() + self._pause_s
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

        self.exchange(self.wish, tried)


def in_words(error: Exception) -> str:
    """Return a sentence about an error."""
    own = isinstance(error, PerceptionError)
    return str(error) if own else f'{type(error).__name__}: {error}.'
