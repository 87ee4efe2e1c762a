"""The mailbox holds the newest only, and a worker never falls behind."""

import threading

from keypoint_perception.ros.mailbox import Mailbox
from keypoint_perception.ros.worker import Worker

PATIENCE_S = 30


def test_newest_replaces_older():
    mailbox = Mailbox()
    assert [mailbox.put(i) for i in range(3)] == [False, True, True]
    assert mailbox.take() == 2
    assert not mailbox.put(3)


def test_closing_lets_the_waiting_thread_go():
    mailbox = Mailbox()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(mailbox.take()))
    thread.start()
    mailbox.close()
    thread.join(PATIENCE_S)
    assert taken == [None]


def test_closed_mailbox_gives_nothing_that_was_left():
    mailbox = Mailbox()
    mailbox.put(1)
    mailbox.close()
    assert mailbox.take() is None


def test_busy_worker_takes_the_newest_next():
    busy, gate, done = threading.Event(), threading.Event(), threading.Event()
    processed = []

    def process(item):
        busy.set()
        assert gate.wait(PATIENCE_S)
        processed.append(item)
        if item == 9:
            done.set()

    worker = Worker(process)
    worker.put(0)
    assert busy.wait(PATIENCE_S)
    assert [worker.put(i) for i in range(1, 10)] == [False] + [True] * 8
    gate.set()
    assert done.wait(PATIENCE_S)
    assert worker.stop(PATIENCE_S)
    assert processed == [0, 9]


def test_stopping_says_whether_the_thread_has_ended():
    busy, gate = threading.Event(), threading.Event()

    def process(item):
        busy.set()
        gate.wait(PATIENCE_S)

    worker = Worker(process)
    worker.put(0)
    assert busy.wait(PATIENCE_S)
    assert not worker.stop(0)
    gate.set()
    assert worker.stop(PATIENCE_S)
