"""The mailbox holds the newest only, and a worker never falls behind."""

import threading

from keypoint_perception.ros.perception import latest_buffer as mailbox_module
from keypoint_perception.ros.perception.inference_worker import Worker
from keypoint_perception.ros.perception.latest_buffer import Mailbox
import pytest

PATIENCE_S = 30


def never():
    return False


class Way:
    """What a worker does, by a function."""

    def __init__(self, process):
        self.process = process
        self.closed = False

    def close(self):
        self.closed = True


class Clock:
    """A clock that a test sets; ``mailbox.time`` needs no more."""

    now = 1000.0

    def monotonic(self):
        return self.now


def test_newest_replaces_older():
    mailbox = Mailbox()
    assert [mailbox.put('a', i) for i in range(3)] == [False, True, True]
    assert mailbox.take(given_up=never) == [2]
    assert not mailbox.put('a', 3)


def test_all_senders_are_taken_at_once_oldest_first():
    mailbox = Mailbox()
    assert [mailbox.put(*item) for item in [('a', 1), ('b', 2), ('a', 3)]] == [False, False, True]
    assert mailbox.take(given_up=never) == [2, 3]
    mailbox.put('b', 4)
    assert mailbox.take(given_up=never) == [4]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(mailbox_module, 'time', clock)
    return clock


@pytest.fixture
def mailbox(clock):
    """Return an empty mailbox to which b has sent at 1000 s and 1100 s: it is due at 1200 s."""
    mailbox = Mailbox()
    for now in (1000.0, 1100.0):
        clock.now = now
        mailbox.put('b', 0)
        mailbox.take(given_up=never)
    return mailbox


def test_who_is_due_is_waited_for(mailbox, clock):
    clock.now = 1190.0
    mailbox.put('a', 1)
    looked = threading.Event()

    def look():
        looked.set()
        return False

    def put():
        assert looked.wait(PATIENCE_S)
        mailbox.put('b', 2)

    thread = threading.Thread(target=put)
    thread.start()
    # the budget is never used up: it ends with the item
    assert mailbox.take(budget_s=PATIENCE_S, given_up=look) == [1, 2]
    thread.join()


@pytest.mark.parametrize(
    ('now', 'budget_s'),
    [(1120.0, 50.0), (1260.0, 100.0)],
    ids=['not due within the budget', 'long overdue'],
)
def test_who_is_not_due_is_not_waited_for(mailbox, clock, now, budget_s):
    clock.now = now
    mailbox.put('a', 1)
    assert mailbox.take(budget_s=budget_s, given_up=never) == [1]


def test_who_has_sent_once_or_is_forgotten_is_not_waited_for(mailbox, clock):
    clock.now = 1190.0
    mailbox.put('c', 1)
    mailbox.forget('b')
    mailbox.take(given_up=never)
    mailbox.put('a', 2)
    assert mailbox.take(budget_s=PATIENCE_S, given_up=never) == [2]


def test_an_item_that_has_waited_for_its_budget_waits_no_more(mailbox, clock):
    clock.now = 1190.0
    mailbox.put('a', 1)
    clock.now = 1400.0  # as long as an engine was busy
    mailbox.put('a', 2)
    assert mailbox.take(budget_s=100.0, given_up=never) == [2]


def test_giving_up_lets_the_waiting_thread_go():
    mailbox = Mailbox()
    taken, over = [], threading.Event()
    thread = threading.Thread(target=lambda: taken.append(mailbox.take(given_up=over.is_set)))
    thread.start()
    over.set()
    mailbox.wake()
    thread.join(PATIENCE_S)
    assert taken == [[]]


def test_nothing_is_taken_after_giving_up():
    mailbox = Mailbox()
    mailbox.put('a', 1)
    assert mailbox.take(given_up=lambda: True) == []


def test_busy_worker_takes_the_newest_next():
    busy, gate, done = threading.Event(), threading.Event(), threading.Event()
    processed = []

    def process(items):
        busy.set()
        assert gate.wait(PATIENCE_S)
        processed.extend(items)
        if items == [9]:
            done.set()

    mailbox = Mailbox()
    worker = Worker(mailbox, Way(process))
    mailbox.put('a', 0)
    assert busy.wait(PATIENCE_S)
    assert [mailbox.put('a', i) for i in range(1, 10)] == [False] + [True] * 8
    gate.set()
    assert done.wait(PATIENCE_S)
    assert worker.stop(PATIENCE_S)
    assert processed == [0, 9]


def test_stopping_says_whether_the_thread_has_ended():
    busy, gate = threading.Event(), threading.Event()

    def process(items):
        busy.set()
        gate.wait(PATIENCE_S)

    mailbox = Mailbox()
    worker = Worker(mailbox, Way(process))
    mailbox.put('a', 0)
    assert busy.wait(PATIENCE_S)
    assert not worker.stop(0)
    gate.set()
    assert worker.stop(PATIENCE_S)
