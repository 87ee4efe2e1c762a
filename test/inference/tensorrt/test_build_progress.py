"""Phases within phases become one number."""

import logging

from keypoint_perception.inference.tensorrt.build_progress import BuildProgress, LoggedProgress
import pytest


@pytest.fixture
def told():
    return []


@pytest.fixture
def progress(told):
    return BuildProgress(lambda *what: told.append(what))


def test_steps_of_one_phase(progress, told):
    progress.phase_start('Building', None, 4)
    for step in range(4):
        assert progress.step_complete('Building', step) is True
    progress.phase_finish('Building')
    assert told == [(n, 1000, 'Building') for n in (0, 250, 500, 750, 1000)]


def test_a_phase_within_a_step_counts_for_its_share(progress, told):
    progress.phase_start('Building', None, 4)
    progress.step_complete('Building', 0)
    progress.phase_start('Timing', 'Building', 8)
    progress.step_complete('Timing', 1)  # 2 of 8: (1 + 2/8) / 4
    assert told[-1] == (312, 1000, 'Building')
    progress.phase_start('Kernel', 'Timing', 2)
    progress.step_complete('Kernel', 0)  # (1 + (2 + 1/2) / 8) / 4
    assert told[-1] == (328, 1000, 'Building')
    progress.phase_finish('Kernel')  # (1 + 3/8) / 4
    assert told[-1] == (343, 1000, 'Building')


def test_the_number_never_falls_and_nothing_is_told_twice(progress, told):
    progress.phase_start('Building', '', 2)
    progress.phase_start('Timing', 'Building', 2)
    progress.step_complete('Timing', 1)
    progress.phase_finish('Timing')  # before its parent's step is counted
    progress.phase_start('Timing', 'Building', 4)
    progress.step_complete('Timing', 0)
    progress.step_complete('Building', 0)
    numbers = [done for done, _, _ in told]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 625  # (1 + 1/4) / 2: the second Timing goes on within the second step


def test_an_outermost_phase_that_follows_begins_at_0(progress, told):
    for _ in range(2):
        progress.phase_start('Building', None, 1)
        progress.step_complete('Building', 0)
        progress.phase_finish('Building')
    assert [done for done, _, _ in told] == [0, 1000, 0, 1000]


def test_a_phase_may_end_early_and_strangers_are_left_alone(progress, told):
    progress.phase_start('Building', None, 4)
    progress.phase_finish('Building')
    assert progress.step_complete('Building', 1) is True
    progress.phase_finish('never begun')
    assert [done for done, _, _ in told] == [0, 1000]


def test_a_phase_of_an_unknown_parent_stands_alone(progress, told):
    progress.phase_start('Timing', 'gone', 2)
    progress.step_complete('Timing', 0)
    assert told[-1] == (500, 1000, 'Timing')


def test_a_build_can_be_stopped(progress):
    progress.phase_start('Building', None, 4)
    progress.stop()
    assert progress.step_complete('Building', 0) is False


def test_who_is_told_may_ask_to_stop():
    progress = BuildProgress(LoggedProgress('building', lambda done, *_: done < 500))
    progress.phase_start('Building', None, 4)
    assert progress.step_complete('Building', 0) is True
    assert progress.step_complete('Building', 1) is False
    assert progress.stopped


def test_the_first_interruption_is_kept(progress):
    first, second = KeyboardInterrupt(), ValueError()
    progress.stop(first)
    progress.stop(second)
    assert progress.interruption is first


def test_the_log_speaks_now_and_then_and_the_caller_hears_all(told, caplog):
    now = [0.0]
    logged = LoggedProgress('building', lambda *w: told.append(w), clock=lambda: now[0])
    with caplog.at_level(logging.INFO, 'keypoint_perception'):
        for second in range(12):
            now[0] = float(second)
            logged(second * 10, 1000, 'Timing')
    assert len(told) == 12
    assert [r.getMessage() for r in caplog.records] == [
        'building: Timing 5 %, 5 s so far',
        'building: Timing 10 %, 10 s so far',
    ]
