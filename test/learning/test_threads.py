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
    chosen = []
    monkeypatch.setattr(torch, 'get_num_threads', lambda: chosen[-1] if chosen else 2)
    monkeypatch.setattr(torch, 'set_num_threads', chosen.append)
    monkeypatch.setattr(threads, '_seconds', lambda step, count: seconds[count])
    monkeypatch.setattr(Threads, '_trial_step', lambda self: None)
    return SimpleNamespace(seconds=seconds, chosen=chosen)


def make(count=0, world_size=1):
    fabric = SimpleNamespace(device=torch.device('cpu'), world_size=world_size)
    return Threads(None, fabric, count)


def test_the_faster_number_is_taken(measured):
    make().choose()
    assert measured.chosen[-1] == 2
    measured.chosen.clear()
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
    chooser.watch(45.0)  # one thread of two: asked every time
    assert measured.chosen[-1] == 2


def test_another_run_is_followed_on_all_cores(measured):
    measured.seconds[2] = 0.9
    chooser = make()
    chooser.choose()
    chooser.use(None)
    measured.seconds[2] = 0.1
    chooser.watch(45.0)
    assert measured.chosen[-1] == 2


def test_a_stated_number_is_kept(measured):
    chooser = make(count=1)
    chooser.choose()
    chooser.watch(1.0)
    assert measured.chosen == [1]


def test_several_processes_have_their_threads_from_outside(measured):
    make(world_size=2).choose()
    assert measured.chosen == []


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
