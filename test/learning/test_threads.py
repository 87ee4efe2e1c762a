"""Learning uses the number of threads that was measured to be fastest."""

import os
from types import SimpleNamespace

from keypoint_perception.learning import threads
from keypoint_perception.learning.run_log import read_history
from keypoint_perception.learning.threads import Threads
import pytest
import torch


@pytest.fixture
def measured(monkeypatch):
    """Two cores, and seconds a step by number of threads that a test may change."""
    seconds = {1: 0.2, 2: 0.1}
    chosen, tried = [2], []

    def measure(step, count, most_s):
        tried.append(count)
        return seconds[count]

    monkeypatch.setattr(torch, 'get_num_threads', lambda: chosen[-1])
    monkeypatch.setattr(torch, 'set_num_threads', chosen.append)
    monkeypatch.setattr(threads, '_seconds', measure)
    monkeypatch.setattr(threads, '_cores', lambda: max(seconds))
    monkeypatch.setattr(Threads, '_trial_step', lambda self: None)
    return SimpleNamespace(seconds=seconds, chosen=chosen, tried=tried)


class Sampler:
    """A sampler whose state is a number."""

    number = 5

    def state(self):
        return self.number

    def restore(self, number):
        self.number = number


def make_run():
    return SimpleNamespace(sampler=Sampler(), loader=SimpleNamespace(ahead=None))


def make(count=0, world_size=1, run=None, device='cpu'):
    fabric = SimpleNamespace(device=torch.device(device), world_size=world_size)
    return Threads(run or make_run(), fabric, count)


def test_the_faster_number_is_taken(measured):
    make().choose()
    assert measured.chosen[-1] == 2
    measured.seconds[2] = 0.9  # a neighbour holds a core
    make().choose()
    assert measured.chosen[-1] == 1


def test_a_slowed_down_run_measures_again(measured):
    chooser = make()
    chooser.choose()
    chooser.watch(100.0)
    measured.seconds[2] = 0.9
    chooser.watch(80.0)
    assert measured.chosen[-1] == 2  # not slow enough to ask
    chooser.watch(40.0)
    assert measured.chosen[-1] == 1
    measured.seconds[2] = 0.1
    chooser.watch(45.0)  # one thread of two
    assert measured.chosen[-1] == 2


def test_idle_cores_are_tried_ever_more_seldom(measured):
    measured.seconds[2] = 0.9
    chooser = make()
    chooser.choose()
    asked = []
    for call in range(1, 80):
        measured.tried.clear()
        chooser.watch(45.0)
        if measured.tried:
            asked.append(call)
    assert asked == [1, 3, 7, 15, 31, 47, 63, 79]
    measured.seconds[2] = 0.1
    for _ in range(16):
        chooser.watch(45.0)
    assert measured.chosen[-1] == 2


def test_the_next_batch_is_prepared_where_a_core_is_left(measured, monkeypatch):
    run = make_run()
    chooser = make(run=run)
    assert not run.loader.ahead  # two threads on two cores
    measured.seconds[2] = 0.9
    chooser.choose()
    assert run.loader.ahead
    make(count=2, run=run)
    assert not run.loader.ahead
    make(count=2, run=run, device='cuda')
    assert run.loader.ahead
    monkeypatch.setattr(threads, '_cores', lambda: 1)
    make(count=1, run=run)
    assert not run.loader.ahead


def test_of_many_cores_all_but_one_are_tried_too(measured):
    measured.chosen[:] = [8]
    measured.seconds.update({7: 0.05, 8: 0.07})
    run = make_run()
    make(run=run).choose()
    assert measured.tried == [1, 7, 8]
    assert (measured.chosen[-1], run.loader.ahead) == (7, True)


def test_cores_are_divided_among_the_processes_of_a_machine(monkeypatch):
    monkeypatch.setattr(threads.os, 'sched_getaffinity', lambda process: set(range(9)))
    assert threads._cores() == 9
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '4')
    assert threads._cores() == 2


def test_a_hopeless_number_is_tried_for_one_step(monkeypatch):
    now, steps = [0.0], []
    monkeypatch.setattr(threads.time, 'perf_counter', lambda: now[0])

    def step():
        steps.append(1)
        now[0] += 3.0 if len(steps) == 1 else 1.0

    assert (threads._seconds(step, 2, 2.5), len(steps)) == (3.0, 1)
    steps.clear()
    assert (threads._seconds(step, 2, 3.5), len(steps)) == (1.0, 3)


def test_another_run_is_followed_on_all_cores(measured):
    measured.seconds[2] = 0.9
    chooser = make()
    chooser.choose()
    chooser.use(make_run())
    measured.seconds[2] = 0.1
    chooser.watch(45.0)
    assert measured.chosen[-1] == 2


def test_a_stated_number_is_kept(measured):
    chooser = make(count=1)
    chooser.choose()
    chooser.watch(1.0)
    assert measured.chosen[-1] == 1
    assert not measured.tried


def test_several_processes_have_their_threads_from_outside(measured):
    make(world_size=2).choose()
    assert not measured.tried
    assert measured.chosen[-1] == 2


def test_a_run_that_measures_its_threads_learns_as_one_that_does_not(
    run, square_store, tmp_path, caplog
):
    cores, before = max(2, os.cpu_count()), torch.get_num_threads()
    caplog.set_level('INFO')
    try:
        torch.set_num_threads(cores)
        run(square_store, tmp_path / 'measured', steps=3, threads=0)
        chosen = torch.get_num_threads()
        run(square_store, tmp_path / 'stated', steps=3, threads=1)
    finally:
        torch.set_num_threads(before)
    assert chosen in (1, cores)
    assert f'Threads: {chosen} of {cores} (' in caplog.text
    # measuring draws pairs and numbers of its own, which must leave no trace in the run
    measured, stated = (read_history(tmp_path / name) for name in ('measured', 'stated'))
    assert [row['step'] for row in measured] == ['1', '2', '3']
    losses = [float(row['loss']) for row in measured]
    assert losses == pytest.approx([float(row['loss']) for row in stated], rel=1e-3)
