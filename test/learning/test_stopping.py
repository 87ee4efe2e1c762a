"""Budgets of steps and of minutes."""

import os
import signal

from keypoint_perception.learning import stopping
from keypoint_perception.learning.stopping import Budget, StopRequest
import pytest


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopping.time, 'monotonic', lambda: now[0])
    return now


def test_steps_count_from_the_beginning_of_the_run():
    budget = Budget(steps=10, minutes=None)
    budget.start()
    assert (budget.done(4), budget.reason(9)) == (0.4, None)
    assert budget.reason(10) == '10 steps are done'


def test_minutes_count_from_the_start_of_learning(clock):
    budget = Budget(steps=None, minutes=2)
    clock[0] = 500.0
    budget.start()
    clock[0] = 530.0
    assert (budget.done(7), budget.reason(7)) == (0.25, None)
    clock[0] = 620.0
    assert budget.reason(7) == '2 minutes are over'


def test_what_is_used_up_first_ends_the_run(clock):
    budget = Budget(steps=10, minutes=1)
    budget.start()
    clock[0] += 30
    assert (budget.done(2), budget.done(8)) == (0.5, 0.8)


def test_a_shortened_run_passes_through_the_rest_of_the_schedule():
    budget = Budget(steps=1000, minutes=None)
    assert budget.done(400) == 0.4
    budget.shorten(400, 100, 'enough')
    budget.shorten(410, 7, 'later calls change nothing')
    assert [budget.done(step) for step in (400, 450, 500)] == [0.4, 0.7, 1.0]
    assert [budget.reason(step) for step in (499, 500)] == [None, 'enough']


def test_a_run_that_is_shortened_late_ends_with_its_budget():
    budget = Budget(steps=1000, minutes=None)
    budget.shorten(950, 100, 'enough')
    assert budget.done(975) == pytest.approx(0.9625 + 0.0125)
    assert (budget.reason(999), budget.reason(1000)) == (None, '1000 steps are done')


def test_processes_go_by_one_clock(clock):
    budget = Budget(steps=None, minutes=1)
    budget.start()
    clock[0] += 30
    budget.synchronise(45.0)
    assert (budget.spent_s(), budget.done(0), budget.reason(0)) == (30.0, 0.75, None)
    budget.synchronise(60.0)
    assert budget.reason(0) == '1 minutes are over'


def test_a_signal_asks_and_a_second_one_interrupts():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert stop.reason is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason == 'SIGTERM requested a stop'
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
