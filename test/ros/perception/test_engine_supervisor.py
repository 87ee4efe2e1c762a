"""The engine is swapped between two images, and replaced when it hangs or fails."""

import queue
import threading

from fake_engine import FakeEngine
from keypoint_perception.errors import EngineError, ModelError
from keypoint_perception.ros.perception import engine_loading, engine_supervisor
from keypoint_perception.ros.perception.engine_loading import EngineSpec, MonitoredEngine
from keypoint_perception.ros.perception.engine_supervisor import EngineSupervisor
from keypoint_perception.ros.perception.inference_worker import InferenceWorker, LatestBuffer
import numpy as np
import pytest

PATIENCE_S = 30
TIMEOUT_S = 10.0
FIRST, SECOND = EngineSpec('first', 'torch', 1), EngineSpec('second', 'torch', 1)


class FakePipeline:
    """Runs an engine on items and keeps the results."""

    def __init__(self, engine, out):
        self._engine, self._out, self._closed = engine, out, False

    def process(self, items):
        try:
            answer = self._engine.run(items[0])
        except Exception as error:
            answer = error
        if not self._closed:
            self._out.put((answer, items[0]))

    def close(self):
        self._closed = True


class Stage:
    """A supervisor, a latest buffer, and engines that a test controls."""

    def __init__(self):
        self.latest_buffer = LatestBuffer()
        self.out = queue.Queue()
        self.calls = queue.Queue()
        self.engines = []
        self.workers = []
        self.answers = {}
        self.may_load = {}
        self.supervisor = EngineSupervisor(self._load, self.start_worker, self.calls.put)

    def _load(self, spec):
        if spec.model in self.may_load:
            assert self.may_load[spec.model].wait(PATIENCE_S)
        answer = self.answers.get(spec.model, lambda image: spec.model)
        if isinstance(answer, Exception):
            raise answer
        self.engines.append(FakeEngine(answer))
        return MonitoredEngine(self.engines[-1], spec.model)

    def start_worker(self, engine, predecessor):
        pipeline = FakePipeline(engine, self.out)
        self.workers.append(InferenceWorker(self.latest_buffer, pipeline, predecessor=predecessor))
        return self.workers[-1]

    def put(self, item):
        self.latest_buffer.put('camera', item)

    def next(self):
        return self.out.get(timeout=PATIENCE_S)

    def call_soon(self):
        """Run the next function scheduled by another thread."""
        self.calls.get(timeout=PATIENCE_S)()

    def swap(self, spec):
        reasons = []
        self.supervisor.swap(spec, reasons.append)
        self.call_soon()
        return reasons


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(engine_supervisor, 'time', clock)
    monkeypatch.setattr(engine_loading, 'time', clock)
    return clock


@pytest.fixture
def stage(clock):
    del clock
    stage = Stage()
    stage.supervisor.load(FIRST)
    stage.supervisor.activate()
    yield stage
    assert stage.supervisor.deactivate(PATIENCE_S)
    stage.supervisor.unload()


class Gate:
    """An engine call that blocks until the test releases it."""

    def __init__(self, name):
        self.name, self.busy, self.go = name, threading.Event(), threading.Event()

    def __call__(self, image):
        self.busy.set()
        assert self.go.wait(PATIENCE_S)
        return self.name


def await_exit(workers):
    """Wait for workers that are ending."""
    for worker in workers:
        assert worker.stop(PATIENCE_S)


def test_another_engine_takes_over_after_the_image_in_progress(stage):
    gate = stage.answers['gated'] = Gate('gated')
    assert stage.swap(EngineSpec('gated', 'torch', 1)) == ['']
    stage.put(1)
    assert gate.busy.wait(PATIENCE_S)
    stage.put(2)
    assert stage.swap(SECOND) == ['']
    # the second image waits for the first, though the new engine is idle
    assert stage.out.empty()
    assert not stage.engines[1].closed
    gate.go.set()
    assert [stage.next(), stage.next()] == [('gated', 1), ('second', 2)]
    await_exit(stage.workers[:-1])
    assert [engine.closed for engine in stage.engines] == [True, True, False]
    assert stage.supervisor.identity == 'second'


def test_an_engine_that_hangs_while_loading_does_not_delay_shutdown(stage):
    loading, ended = threading.Event(), threading.Event()

    def load(spec):
        loading.set()
        ended.wait(PATIENCE_S)

    supervisor = EngineSupervisor(load, stage.start_worker, stage.calls.put)
    with pytest.raises(EngineError, match="'first' was still loading when the node was shut down"):
        supervisor.load(FIRST, lambda: not loading.is_set())
    assert supervisor.spec is None
    ended.set()


def test_a_bad_model_leaves_the_old_one_running(stage):
    stage.answers['second'] = ModelError('no such model.')
    assert stage.swap(SECOND) == ['no such model.']
    stage.answers['second'] = RuntimeError('full')
    assert stage.swap(SECOND) == ['RuntimeError: full.']
    stage.put(1)
    assert stage.next() == ('first', 1)
    assert (stage.supervisor.spec, stage.supervisor.fault) == (FIRST, '')


def test_the_last_of_several_requests_counts(stage):
    reasons = {name: [] for name in ('second', 'third', 'fourth')}
    for name, said in reasons.items():
        stage.supervisor.swap(EngineSpec(name, 'torch', 1), said.append)
    assert stage.supervisor.loading
    stage.call_soon()
    stage.call_soon()
    asked = ['another model was requested in the meantime.']
    assert reasons == {'second': asked, 'third': asked, 'fourth': ['']}
    await_exit(stage.workers[:-1])
    assert [engine.closed for engine in stage.engines] == [True, True, False]


def test_an_engine_loaded_for_a_cleaned_up_node_is_closed(stage):
    said = []
    stage.supervisor.swap(SECOND, said.append)
    stage.supervisor.deactivate(PATIENCE_S)
    stage.supervisor.unload()
    stage.call_soon()
    assert said == ['the node was cleaned up in the meantime.']
    assert all(engine.closed for engine in stage.engines)


def test_a_pending_request_of_a_cleaned_up_node_is_dropped(stage):
    said = {'second': [], 'third': []}
    for name, reasons in said.items():
        stage.supervisor.swap(EngineSpec(name, 'torch', 1), reasons.append)
    stage.supervisor.deactivate(PATIENCE_S)
    stage.supervisor.unload()
    stage.call_soon()
    asked = ['the node was cleaned up in the meantime.']
    assert said == {'second': asked, 'third': asked}
    assert not stage.supervisor.loading
    assert (stage.supervisor.engine, len(stage.engines)) == (None, 2)


def test_a_model_that_loads_for_ever_gives_way_to_another(stage, clock):
    said, may_load = {}, threading.Event()

    def request(name):
        stage.supervisor.swap(EngineSpec(name, 'torch', 1), said.setdefault(name, []).append)

    for number in range(engine_supervisor.MAX_HANGING):
        stage.may_load[f'hangs{number}'] = may_load
        request(f'hangs{number}')
        clock.now += 60
        stage.supervisor.check(TIMEOUT_S)
        request('second')
        stage.supervisor.check(TIMEOUT_S)
        assert said[f'hangs{number}'] == []  # not longer than a minute yet
        clock.now += 1
        stage.supervisor.check(TIMEOUT_S)
        assert said[f'hangs{number}'] == ['it was still being loaded after 61 s.']
        stage.call_soon()
    refused = '3 other models are still being loaded; restart the node.'
    assert said['second'] == ['', '', refused]
    assert stage.supervisor.spec == SECOND
    may_load.set()
    for _ in range(engine_supervisor.MAX_HANGING):
        stage.call_soon()
    await_exit(stage.workers[:-1])
    assert [e.closed for e in stage.engines] == [True, True, False, True, True, True]


def hang(stage):
    """Have a new engine hang, and return its gate."""
    gate = stage.answers['hangs'] = Gate('late')
    stage.swap(EngineSpec('hangs', 'torch', 1))
    stage.put(1)
    assert gate.busy.wait(PATIENCE_S)
    return gate


def test_an_engine_that_hangs_is_replaced(stage, clock, caplog):
    gate = hang(stage)
    clock.now += TIMEOUT_S
    stage.supervisor.check(TIMEOUT_S)
    assert stage.supervisor.fault == ''
    clock.now += 1
    stage.supervisor.check(TIMEOUT_S)
    assert stage.supervisor.fault.startswith('the engine has not responded for 11 s; it will be')
    stage.answers['hangs'] = lambda image: 'well'
    stage.supervisor.check(TIMEOUT_S)
    assert not stage.supervisor.loading  # not before the pause is over
    clock.now += engine_supervisor.FIRST_RETRY_S
    stage.supervisor.check(TIMEOUT_S)
    stage.call_soon()
    assert (stage.supervisor.fault, stage.supervisor.faults) == ('', 1)
    stage.put(2)
    assert stage.next() == ('well', 2)
    # the late answer is not published, its engine is given back in its own thread
    hung = stage.engines[1]
    assert not hung.closed
    gate.go.set()
    await_exit(stage.workers[:-1])
    assert stage.out.empty()
    assert hung.closed
    assert caplog.text.count('the engine has not responded for') == 2  # its fault, and its end
    assert 'the engine has recovered from fault 1' in caplog.text


def test_timeout_0_means_unlimited(stage, clock):
    gate = hang(stage)
    clock.now += 1e6
    stage.supervisor.check(0.0)
    assert stage.supervisor.fault == ''
    gate.go.set()
    assert stage.next() == ('late', 1)


def test_engines_that_hang_do_not_fill_the_memory(stage, clock):
    gates = [hang(stage)]
    for _ in range(engine_supervisor.MAX_HANGING):
        clock.now += 1000
        stage.supervisor.check(TIMEOUT_S)
        clock.now += 1000
        if len(gates) < engine_supervisor.MAX_HANGING:
            gates.append(Gate('late'))
            stage.answers['hangs'] = gates[-1]
            stage.supervisor.check(TIMEOUT_S)
            stage.call_soon()
            stage.put(2)
            assert gates[-1].busy.wait(PATIENCE_S)
    stage.supervisor.check(TIMEOUT_S)
    assert stage.supervisor.fault == '3 engines hang; restart the node.'
    assert not stage.supervisor.loading
    stage.answers['hangs'] = lambda image: 'well'
    for gate in gates:
        gate.go.set()
    await_exit(stage.workers)
    stage.supervisor.check(TIMEOUT_S)  # they have come back after all
    stage.call_soon()
    assert stage.supervisor.fault == ''


def fail(image):
    raise RuntimeError('out of memory')


def fail_until_given_up(stage, clock):
    for number in range(engine_supervisor.MAX_FAILURES):
        assert stage.supervisor.fault == ''
        stage.put(number)
        stage.next()
        stage.supervisor.check(TIMEOUT_S)
    assert stage.supervisor.fault.startswith(
        'the engine failed 3 times in a row (RuntimeError: out of memory)'
    )


def test_an_engine_that_keeps_failing_is_reloaded_with_growing_delays(stage, clock, caplog):
    stage.answers['fails'] = fail
    stage.swap(EngineSpec('fails', 'torch', 1))
    pauses = []
    for _ in range(3):
        fail_until_given_up(stage, clock)
        began = clock.now
        while not stage.supervisor.loading:
            clock.now += 0.5
            stage.supervisor.check(TIMEOUT_S)
        pauses.append(clock.now - began)
        stage.call_soon()
        await_exit(stage.workers[:-1])  # those that are still ending count as hanging
    assert pauses == [1, 2, 4]
    assert stage.supervisor.faults == 3
    errors = [record for record in caplog.records if record.levelname == 'ERROR']
    assert len(errors) == 1


def test_occasional_failures_are_no_fault(stage, clock):
    answers = iter([fail, fail, lambda image: 'well'] * 3)
    stage.answers['moody'] = lambda image: next(answers)(image)
    stage.swap(EngineSpec('moody', 'torch', 1))
    for number in range(9):
        stage.put(number)
        stage.next()
        stage.supervisor.check(TIMEOUT_S)
    assert (stage.supervisor.fault, stage.supervisor.faults) == ('', 0)


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_thread_that_dies_is_replaced(stage, clock, monkeypatch):
    reached = threading.Event()

    def process(self, items):
        reached.set()
        raise KeyError(items[0])

    with monkeypatch.context() as broken:
        broken.setattr(FakePipeline, 'process', process)
        stage.put(1)
        assert reached.wait(PATIENCE_S)
        await_exit(stage.workers)
    stage.supervisor.check(TIMEOUT_S)
    assert stage.supervisor.fault.startswith('the inference thread has died, which is a bug')
    clock.now += 1
    stage.supervisor.check(TIMEOUT_S)
    stage.call_soon()
    stage.put(2)
    assert stage.next() == ('first', 2)


def test_a_model_that_is_gone_is_retried(stage, clock):
    stage.answers['fails'] = fail
    stage.swap(EngineSpec('fails', 'torch', 1))
    fail_until_given_up(stage, clock)
    stage.answers['fails'] = ModelError('the directory is gone.')
    clock.now += 1
    stage.supervisor.check(TIMEOUT_S)
    stage.call_soon()
    assert stage.supervisor.fault == 'the engine cannot be reloaded: the directory is gone.'
    # another model ends the fault at once
    assert stage.swap(SECOND) == ['']
    assert stage.supervisor.fault == ''
    stage.put(1)
    assert stage.next() == ('second', 1)


def test_an_engine_still_busy_on_deactivation_is_abandoned(stage, clock):
    gate = hang(stage)
    assert not stage.supervisor.deactivate(0.0)
    assert stage.supervisor.fault.startswith('the engine was still busy when it was deactivated')
    stage.supervisor.check(TIMEOUT_S)
    assert not stage.supervisor.loading  # nobody wants it now
    stage.answers['hangs'] = lambda image: 'well'
    stage.supervisor.activate()
    stage.supervisor.check(TIMEOUT_S)
    stage.call_soon()
    stage.put(2)
    assert stage.next() == ('well', 2)
    gate.go.set()


def test_monitored_engine_forwards_and_times_calls(clock):
    def slow(images):
        clock.now += 0.25
        return np.ones((1, 3, 3), np.float32)

    engine = MonitoredEngine(FakeEngine(slow, input_hw=(8, 6)))
    assert engine.input_hw == (8, 6)
    keypoints, landmarks = engine.run_with_landmarks(None)
    assert (keypoints.shape, landmarks.shape) == ((1, 3, 3), (1, 0, 3))
    assert engine.last_ms == 250
    assert (engine.busy_s, engine.successes) == (0, 1)
