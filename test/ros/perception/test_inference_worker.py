"""The buffer holds the newest only, and a worker never falls behind."""

import threading

from keypoint_perception.ros.perception import inference_worker
from keypoint_perception.ros.perception.inference_worker import InferenceWorker, LatestBuffer
import pytest

PATIENCE_S = 30


def never():
    return False


class FakePipeline:
    """A pipeline that calls a function."""

    def __init__(self, process):
        self.process = process
        self.closed = False

    def close(self):
        self.closed = True


class Clock:
    """A clock that a test sets; ``inference_worker.time`` needs no more."""

    now = 1000.0

    def monotonic(self):
        return self.now


def test_newest_replaces_older():
    latest_buffer = LatestBuffer()
    assert [latest_buffer.put('a', i) for i in range(3)] == [False, True, True]
    assert latest_buffer.take_all(cancelled=never) == [2]
    assert not latest_buffer.put('a', 3)


def test_items_of_all_sources_are_taken_oldest_first():
    latest_buffer = LatestBuffer()
    assert [latest_buffer.put(*item) for item in [('a', 1), ('b', 2), ('a', 3)]] == [
        False,
        False,
        True,
    ]
    assert latest_buffer.take_all(cancelled=never) == [2, 3]
    latest_buffer.put('b', 4)
    assert latest_buffer.take_all(cancelled=never) == [4]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(inference_worker, 'time', clock)
    return clock


@pytest.fixture
def latest_buffer(clock):
    """Return an empty buffer to which b has sent at 1000 s and 1100 s: it is due at 1200 s."""
    latest_buffer = LatestBuffer()
    for now in (1000.0, 1100.0):
        clock.now = now
        latest_buffer.put('b', 0)
        latest_buffer.take_all(cancelled=never)
    return latest_buffer


def test_a_source_that_is_due_is_waited_for(latest_buffer, clock):
    clock.now = 1190.0
    latest_buffer.put('a', 1)
    looked = threading.Event()

    def look():
        looked.set()
        return False

    def put():
        assert looked.wait(PATIENCE_S)
        latest_buffer.put('b', 2)

    thread = threading.Thread(target=put)
    thread.start()
    # the budget is never used up: it ends with the item
    assert latest_buffer.take_all(budget_s=PATIENCE_S, cancelled=look) == [1, 2]
    thread.join()


@pytest.mark.parametrize(
    ('now', 'budget_s'),
    [(1120.0, 50.0), (1260.0, 100.0)],
    ids=['not due within the budget', 'long overdue'],
)
def test_a_source_that_is_not_due_is_not_waited_for(latest_buffer, clock, now, budget_s):
    clock.now = now
    latest_buffer.put('a', 1)
    assert latest_buffer.take_all(budget_s=budget_s, cancelled=never) == [1]


def test_new_and_removed_sources_are_not_waited_for(latest_buffer, clock):
    clock.now = 1190.0
    latest_buffer.put('c', 1)
    latest_buffer.remove('b')
    latest_buffer.take_all(cancelled=never)
    latest_buffer.put('a', 2)
    assert latest_buffer.take_all(budget_s=PATIENCE_S, cancelled=never) == [2]


def test_an_item_waits_no_longer_than_the_budget(latest_buffer, clock):
    clock.now = 1190.0
    latest_buffer.put('a', 1)
    clock.now = 1400.0  # as long as an engine was busy
    latest_buffer.put('a', 2)
    assert latest_buffer.take_all(budget_s=100.0, cancelled=never) == [2]


def test_cancelling_wakes_the_waiting_thread():
    latest_buffer = LatestBuffer()
    taken, over = [], threading.Event()
    thread = threading.Thread(
        target=lambda: taken.append(latest_buffer.take_all(cancelled=over.is_set))
    )
    thread.start()
    over.set()
    latest_buffer.notify()
    thread.join(PATIENCE_S)
    assert taken == [[]]


def test_nothing_is_taken_after_cancelling():
    latest_buffer = LatestBuffer()
    latest_buffer.put('a', 1)
    assert latest_buffer.take_all(cancelled=lambda: True) == []


def test_busy_worker_takes_the_newest_next():
    busy, gate, done = threading.Event(), threading.Event(), threading.Event()
    processed = []

    def process(items):
        busy.set()
        assert gate.wait(PATIENCE_S)
        processed.extend(items)
        if items == [9]:
            done.set()

    latest_buffer = LatestBuffer()
    worker = InferenceWorker(latest_buffer, FakePipeline(process))
    latest_buffer.put('a', 0)
    assert busy.wait(PATIENCE_S)
    assert [latest_buffer.put('a', i) for i in range(1, 10)] == [False] + [True] * 8
    gate.set()
    assert done.wait(PATIENCE_S)
    assert worker.stop(PATIENCE_S)
    assert processed == [0, 9]


def test_stopping_returns_whether_the_thread_has_exited():
    busy, gate = threading.Event(), threading.Event()

    def process(items):
        busy.set()
        gate.wait(PATIENCE_S)

    latest_buffer = LatestBuffer()
    worker = InferenceWorker(latest_buffer, FakePipeline(process))
    latest_buffer.put('a', 0)
    assert busy.wait(PATIENCE_S)
    assert not worker.stop(0)
    gate.set()
    assert worker.stop(PATIENCE_S)
